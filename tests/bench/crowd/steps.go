package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

const (
	// pollPause is between two looks at a drop's status.
	pollPause = 5 * time.Second
	// retryPause is before a retry where the answer names none.
	retryPause = time.Second
	// replayPause is before a receipt is sent again that was answered.
	replayPause = time.Second
	// payments is how often a late payer sends his receipt before HOLD_EXPIRED is his final answer.
	payments = 6
	// spread keeps people apart who all know the same moment.
	spread = 2 * time.Second
)

// hear decides what a person does after an answer. It reports false once the person sends nothing more.
func (one *person) hear(p *plan, heard *answer, now time.Duration) bool {
	switch {
	case one.next == replay && !heard.isRetryable():
		if heard.result() != one.result {
			one.ending = failed
		}
		return false
	case heard.isRetryable():
		return one.retry(heard, now)
	}
	switch one.next {
	case pollDrop:
		return one.seeDrop(p, heard, now)
	case pollDraw:
		return one.seeDraw(p, heard, now)
	case takeHold:
		if heard.status == 201 {
			return one.pay(p, now)
		}
		return one.decide(refusal(heard, 409, 410), now)
	case enter:
		if heard.status == 201 {
			one.leafHash = heard.text("leaf_hash")
			return one.goOn(pollDraw, max(now, p.lookAfter)+anyOf(spread))
		}
		return one.decide(refusal(heard, 409), now)
	default:
		return one.paid(heard, now)
	}
}

func (one *person) seeDrop(p *plan, heard *answer, now time.Duration) bool {
	state := heard.text("state")
	attempt := map[string]step{"direct": mint, "hold": takeHold}[p.sale]
	switch {
	case heard.status != 200:
		return one.decide(failed, now)
	case one.isEager:
		one.isEager = false // once
		return one.goOn(attempt, now)
	case state == "SOLD_OUT" || state == "CLOSED":
		return one.decide(lost, now)
	case state == "HELD_OUT":
		return one.goOn(pollDrop, now+pollPause)
	default:
		return one.goOn(attempt, now)
	}
}

func (one *person) seeDraw(p *plan, heard *answer, now time.Duration) bool {
	draw := heard.draw()
	switch {
	case heard.status != 200:
		return one.decide(failed, now)
	case len(draw.seed) > 0 && one.key(draw.seed) <= draw.cutoff:
		return one.pay(p, now)
	case draw.state == "DONE" || draw.state == "CANCELLED":
		return one.decide(lost, now)
	default:
		return one.goOn(pollDraw, now+draw.pollAfter)
	}
}

// key ranks the person's entry; hexadecimal digits compare like the bytes.
func (one *person) key(seed []byte) string {
	leaf, _ := hex.DecodeString(one.leafHash)
	mac := hmac.New(sha256.New, seed)
	mac.Write(leaf)
	return hex.EncodeToString(mac.Sum(nil))
}

// pay is what follows when a number waits for the person.
func (one *person) pay(p *plan, now time.Duration) bool {
	switch {
	case one.leaves:
		return one.decide(left, now)
	case one.isLate:
		return one.goOn(mint, now+p.late+anyOf(spread))
	default:
		return one.goOn(mint, now+anyOf(p.pay))
	}
}

func (one *person) paid(heard *answer, now time.Duration) bool {
	one.payments++
	one.result = heard.result()
	switch {
	case heard.status == 201:
		one.decide(won, now)
	case heard.text("error") == "HOLD_EXPIRED" && one.payments < payments:
		return one.goOn(mint, now+pollPause)
	default:
		one.decide(refusal(heard, 409, 410), now)
	}
	if !one.replays {
		return false
	}
	return one.goOn(replay, now+replayPause)
}

// retry sends the same again when the answer says so; who was refused for now looks before the next attempt.
func (one *person) retry(heard *answer, now time.Duration) bool {
	after := max(heard.retryAfter, retryPause)
	if heard.text("error") == "HELD_OUT" && one.next == takeHold {
		return one.goOn(pollDrop, now+after)
	}
	return one.goOn(one.next, now+after)
}

func (one *person) goOn(next step, due time.Duration) bool {
	one.next, one.due = next, due
	return true
}

func (one *person) decide(ending ending, now time.Duration) bool {
	one.ending, one.decided = ending, now
	return false
}

// refusal is lost where the answer has one of the statuses that a final no can have, else failed.
func refusal(heard *answer, statuses ...int) ending {
	for _, status := range statuses {
		if heard.status == status {
			return lost
		}
	}
	return failed
}

func anyOf(limit time.Duration) time.Duration {
	return time.Duration(rand.Float64() * float64(limit))
}
