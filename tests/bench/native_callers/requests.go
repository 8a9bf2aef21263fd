package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// readRequests reads messages as google.protobuf.proto.serialize_length_prefixed writes them.
func readRequests(path string) ([][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader := bufio.NewReader(file)
	var requests [][]byte
	for {
		length, err := binary.ReadUvarint(reader)
		if errors.Is(err, io.EOF) {
			return requests, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		message := make([]byte, length)
		if _, err := io.ReadFull(reader, message); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		requests = append(requests, message)
	}
}
