package main

import (
	"slices"
	"time"

	"google.golang.org/grpc/codes"
)

// outcome is what became of one call.
type outcome struct {
	took time.Duration
	code codes.Code
}

// seen is what became of many.
type seen struct {
	took     []time.Duration // of each call
	refused  int             // answered with another status than OK, Unavailable and DeadlineExceeded among them
	broken   int             // Unavailable
	timeouts int             // DeadlineExceeded
	all      time.Duration   // from the first call's beginning to the last one's end
}

func (s *seen) add(one outcome) {
	s.took = append(s.took, one.took)
	switch one.code {
	case codes.OK:
		return
	case codes.Unavailable:
		s.broken++
	case codes.DeadlineExceeded:
		s.timeouts++
	}
	s.refused++
}

func joined(parts []seen, all time.Duration) seen {
	sum := seen{all: all}
	for _, part := range parts {
		sum.took = append(sum.took, part.took...)
		sum.refused += part.refused
		sum.broken += part.broken
		sum.timeouts += part.timeouts
	}
	slices.Sort(sum.took)
	return sum
}

// report has the fields of LoadResult (tests/bench/load_result.py).
func (s *seen) report() map[string]any {
	return map[string]any{
		"seconds":    s.all.Seconds(),
		"answers":    len(s.took),
		"refusals":   s.refused,
		"broken":     s.broken,
		"timeouts":   s.timeouts,
		"sent":       len(s.took),
		"p50_us":     s.percentile(500),
		"p90_us":     s.percentile(900),
		"p99_us":     s.percentile(990),
		"p999_us":    s.percentile(999),
		"longest_us": s.percentile(1000),
	}
}

// percentile in microseconds, of a thousand.
func (s *seen) percentile(share int) float64 {
	if len(s.took) == 0 {
		return 0
	}
	at := min(len(s.took)*share/1000, len(s.took)-1)
	return float64(s.took[at].Nanoseconds()) / 1000
}
