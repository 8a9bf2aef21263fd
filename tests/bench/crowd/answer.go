package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// answerLimit is how long an answer may take; a request without one counts as broken and is sent again.
const answerLimit = 30 * time.Second

func get(to []byte, path string) []byte {
	to = append(append(to, "GET "...), path...)
	return append(to, " HTTP/1.1\r\nHost: bench\r\n\r\n"...)
}

func post(to []byte, path, body string) []byte {
	to = append(append(to, "POST "...), path...)
	to = append(to, " HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: "...)
	to = append(strconv.AppendInt(to, int64(len(body)), 10), "\r\n\r\n"...)
	return append(to, body...)
}

// connection stays open from one request to the next, whoever sends it.
type connection struct {
	address string
	open    net.Conn
	reader  *bufio.Reader
	request []byte
	answer  answer
}

// ask sends the request in c.request. The answer is valid until the next call; it is nil where none came. The server may
// close a connection that nobody used for a while, so such a request is sent again over a new one.
func (c *connection) ask() *answer {
	wasOpen := c.open != nil
	heard, err := c.exchange()
	if err != nil && wasOpen {
		c.close()
		heard, err = c.exchange()
	}
	if err != nil {
		c.close()
		return nil
	}
	return heard
}

func (c *connection) close() {
	if c.open != nil {
		c.open.Close()
		c.open = nil
	}
}

func (c *connection) exchange() (*answer, error) {
	if c.open == nil {
		open, err := net.Dial("tcp", c.address)
		if err != nil {
			return nil, err
		}
		c.open, c.reader = open, bufio.NewReader(open)
	}
	if err := c.open.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return nil, err
	}
	if _, err := c.open.Write(c.request); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return nil, err
	}
	body := bytes.NewBuffer(c.answer.body[:0])
	if _, err := io.Copy(body, response.Body); err != nil {
		return nil, err
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	c.answer = answer{response.StatusCode, time.Duration(seconds) * time.Second, body.Bytes()}
	if response.Close {
		c.close()
	}
	return &c.answer, nil
}

// answer is what a person reads of a response.
type answer struct {
	status     int
	retryAfter time.Duration
	body       []byte
}

// isRetryable is what the error's own field says.
func (a *answer) isRetryable() bool {
	return a.status >= 400 && a.raw("retryable") == "true"
}

// outcome names the answer in the report: 201, 409 HELD_OUT.
func (a *answer) outcome() string {
	if a.status < 400 {
		return strconv.Itoa(a.status)
	}
	return strconv.Itoa(a.status) + " " + a.text("error")
}

// result is what a replay must repeat: the number, or the refusal.
func (a *answer) result() string {
	if a.status == 201 {
		return a.raw("sequence_num")
	}
	return a.text("error")
}

// text of a string field, wherever it is in the body; empty without it. No field that is asked for has an escape.
func (a *answer) text(field string) string {
	return string(bytes.Trim([]byte(a.raw(field)), `"`))
}

// raw is the field's value as it is written, up to a comma or bracket.
func (a *answer) raw(field string) string {
	_, rest, found := bytes.Cut(a.body, []byte(`"`+field+`":`))
	if !found {
		return ""
	}
	if end := bytes.IndexAny(rest, ",}"); end >= 0 {
		rest = rest[:end]
	}
	return string(bytes.TrimSpace(rest))
}

// draw is what an entrant reads of a draw's document.
type draw struct {
	state     string
	seed      []byte
	cutoff    string
	pollAfter time.Duration
}

func (a *answer) draw() draw {
	seed, _ := hex.DecodeString(a.text("seed"))
	seconds, _ := strconv.Atoi(a.raw("poll_after_s"))
	return draw{a.text("state"), seed, a.text("cutoff"), max(time.Duration(seconds)*time.Second, time.Second)}
}
