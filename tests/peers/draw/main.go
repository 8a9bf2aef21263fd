// Judges a draw by its public documents: a second opinion on `verify.py`, with which it shares no code.
//
//	go run . [-beacon-key HEX] https://shop.example/drops/night/2026/draw
//
// Prints {"holds": true} or {"holds": false, "why": "…"}. Exit code 2 where the documents cannot be read.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const documentLimit = 1 << 18

var errUnreadable = errors.New("cannot be read")

// A source reads the documents below the address of a draw.
type source struct {
	address string
	client  http.Client
}

func (s *source) read(path string, into any) error {
	answer, err := s.client.Get(s.address + path)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, documentLimit+1))
	if err != nil || answer.StatusCode != http.StatusOK || len(body) > documentLimit {
		return fmt.Errorf("%w: %s has status %d", errUnreadable, path, answer.StatusCode)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s is malformed: %w", path, err)
	}
	return nil
}

func main() {
	beaconKey := flag.String("beacon-key", "", "key of a development beacon instead of quicknet's, in hex")
	flag.Parse()
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	address := strings.TrimSuffix(flag.Arg(0), "/")
	documents := &source{address, http.Client{Timeout: 20 * time.Second, CheckRedirect: refuse}}
	err := judge(documents, *beaconKey)
	if errors.Is(err, errUnreadable) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	verdict := map[string]any{"holds": err == nil}
	if err != nil {
		verdict["why"] = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdict); err != nil {
		os.Exit(2)
	}
}
