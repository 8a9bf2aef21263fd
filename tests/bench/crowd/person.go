package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// ending is what became of a person.
type ending string

const (
	undecided ending = "undecided"
	won       ending = "won"  // has a membership
	lost      ending = "lost" // has a final no
	left      ending = "left" // had a number and did not pay
	failed    ending = "failed"
)

// step is the request that a person sends next.
type step string

const (
	pollDrop step = "poll"
	pollDraw step = "draw"
	takeHold step = "hold"
	enter    step = "enter"
	mint     step = "mint"
	replay   step = "replay"
)

// person is one of the crowd. Times count from the crowd's beginning.
type person struct {
	number   int
	next     step
	due      time.Duration
	arrived  time.Duration
	decided  time.Duration
	ending   ending
	result   string // what the mint said; the replay must say the same
	leafHash string
	payments int
	// What this person is like.
	isEager, isLate, leaves, replays bool
}

func newPerson(p *plan, number int, begins step) *person {
	chance := rand.New(rand.NewPCG(uint64(number), 1)) // the same people in each run
	arrived := time.Duration(chance.Float64() * float64(p.over))
	one := &person{number: number, next: begins, due: arrived, arrived: arrived, ending: undecided}
	one.isEager = chance.Float64() < p.eagerShare
	one.replays = chance.Float64() < p.replayShare
	fate := chance.Float64()
	one.leaves = fate < p.leaveShare
	one.isLate = !one.leaves && fate < p.leaveShare+p.lateShare
	return one
}

// write appends the request of the person's next step.
func (one *person) write(p *plan, to []byte) []byte {
	switch one.next {
	case pollDrop:
		return get(to, p.path)
	case pollDraw:
		return get(to, p.path+"/draw")
	case takeHold:
		return post(to, p.path+"/holds", fmt.Sprintf(`{"user_id":"user-%s-%d"}`, p.run, one.number))
	case enter:
		return post(to, p.path+"/entries", fmt.Sprintf(`{"user_id":"user-%s-%d"}`, p.run, one.number))
	default: // mint, replay
		return post(to, "/mint", fmt.Sprintf(
			`{"receipt_data":"night-receipt-%s-%d-0123456789abcdefghijklmnopqrstuvwxyz","user_id":"user-%s-%d",`+
				`"tier":"%s","year":"%s"}`, p.run, one.number, p.run, one.number, p.tier, p.year))
	}
}
