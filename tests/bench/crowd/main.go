// Command crowd sends the requests of a drop's night: each person polls, attempts, waits as Retry-After says, pays and
// sends again, one request after the other. It shares the cores with what it measures, so it writes HTTP/1.1 itself over
// connections that stay open, and reads of an answer only what the person needs. It prints one JSON object.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"os"
	"time"
)

// plan is what all people have in common.
type plan struct {
	address     string
	sale        string
	path        string // of the drop
	tier, year  string
	run         string
	people      int
	connections int
	over        time.Duration
	limit       time.Duration
	pay         time.Duration
	late        time.Duration
	lookAfter   time.Duration
	lateShare   float64
	leaveShare  float64
	replayShare float64
	eagerShare  float64
}

func main() {
	var p plan
	flag.StringVar(&p.address, "address", "", "host:port")
	flag.StringVar(&p.sale, "sale", "direct", "direct, hold or draw")
	flag.StringVar(&p.tier, "tier", "", "of the drop")
	flag.StringVar(&p.year, "year", "", "of the drop")
	flag.StringVar(&p.run, "run", "", "makes users and receipts unique")
	flag.IntVar(&p.people, "people", 1000, "how many people come")
	flag.IntVar(&p.connections, "connections", 64, "connections, and so requests at once")
	flag.DurationVar(&p.over, "over", 0, "people arrive within this time")
	flag.DurationVar(&p.limit, "limit", 10*time.Minute, "the crowd leaves then, with or without a final answer")
	flag.DurationVar(&p.pay, "pay", 3*time.Second, "from a hold to its payment, at most")
	flag.DurationVar(&p.late, "late", 15*time.Second, "from a hold to a late payment")
	flag.DurationVar(&p.lookAfter, "look-after", 0, "people look for the result of a draw after this time")
	flag.Float64Var(&p.lateShare, "late-share", 0, "of those with a hold")
	flag.Float64Var(&p.leaveShare, "leave-share", 0, "of those with a hold: they never pay")
	flag.Float64Var(&p.replayShare, "replay-share", 0, "of those who sent a receipt: they send it again")
	flag.Float64Var(&p.eagerShare, "eager-share", 1, "they attempt although the status says SOLD_OUT")
	flag.Parse()

	p.path = "/drops/" + p.tier + "/" + p.year
	begins, found := map[string]step{"direct": pollDrop, "hold": pollDrop, "draw": enter}[p.sale]
	if !found {
		log.Fatalf("no drop sells by %q", p.sale)
	}
	if err := json.NewEncoder(os.Stdout).Encode(gather(&p, begins).run()); err != nil {
		log.Fatal(err)
	}
}
