package main

import (
	"slices"
	"time"
)

// seen are the answers by step and outcome.
type seen struct {
	took map[string][]time.Duration
	last map[string]time.Duration
}

func newSeen() *seen {
	return &seen{map[string][]time.Duration{}, map[string]time.Duration{}}
}

func (s *seen) add(step step, outcome string, now, took time.Duration) {
	name := string(step) + " " + outcome
	s.took[name] = append(s.took[name], took)
	s.last[name] = now
}

// report is what tests/bench/night.py reads.
type report struct {
	Requests int                `json:"requests"`
	EndedS   float64            `json:"ended_s"` // when the last person had a final answer
	People   map[ending]waits   `json:"people"`  // from arrival to the final answer
	Answers  map[string]answers `json:"answers"` // by step and outcome
}

type waits struct {
	Count int     `json:"count"`
	P50S  float64 `json:"p50_s"`
	P99S  float64 `json:"p99_s"`
}

type answers struct {
	Count int     `json:"count"`
	P50Ms float64 `json:"p50_ms"`
	P99Ms float64 `json:"p99_ms"`
	LastS float64 `json:"last_s"` // when the last of them came
}

func (c *crowd) report() report {
	found := report{People: map[ending]waits{}, Answers: map[string]answers{}}
	waited := map[ending][]time.Duration{}
	for _, one := range c.people {
		waited[one.ending] = append(waited[one.ending], one.decided-one.arrived)
		found.EndedS = max(found.EndedS, one.decided.Seconds())
	}
	for ending, all := range waited {
		slices.Sort(all)
		found.People[ending] = waits{len(all), share(all, 50).Seconds(), share(all, 99).Seconds()}
	}
	for name, all := range c.seen.took {
		slices.Sort(all)
		found.Requests += len(all)
		found.Answers[name] = answers{
			len(all), milliseconds(share(all, 50)), milliseconds(share(all, 99)), c.seen.last[name].Seconds(),
		}
	}
	return found
}

// share is a percentile of sorted times.
func share(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

func milliseconds(time time.Duration) float64 { return float64(time.Microseconds()) / 1000 }
