package main

import (
	"container/heap"
	"sync"
	"time"
)

const (
	// look is how often the crowd looks for people who are due while answers are on their way.
	look = time.Millisecond
	// longest is how long it sleeps while none is.
	longest = 100 * time.Millisecond
)

// crowd lets each person act when due, as soon as a connection is free.
type crowd struct {
	plan   *plan
	began  time.Time
	people []*person
	seen   *seen

	lock    sync.Mutex
	paying  queue // goes first: in a real night nobody's payment waits behind the polls of others
	waiting queue
	active  int // people who will send more
	asking  int // people who wait for an answer
}

func gather(p *plan, begins step) *crowd {
	c := &crowd{plan: p, seen: newSeen(), active: p.people}
	for number := range p.people {
		one := newPerson(p, number, begins)
		c.people = append(c.people, one)
		c.wait(one)
	}
	return c
}

func (c *crowd) run() report {
	c.began = time.Now()
	ready := make(chan *person)
	var running sync.WaitGroup
	for range c.plan.connections {
		running.Go(func() { c.serve(ready) })
	}
	c.dispatch(ready)
	close(ready)
	running.Wait()
	return c.report()
}

// dispatch hands out the people who are due, until all have ended or the time is over.
func (c *crowd) dispatch(ready chan<- *person) {
	for {
		now := time.Since(c.began)
		c.lock.Lock()
		if c.active == 0 || now > c.plan.limit {
			c.lock.Unlock()
			return
		}
		due, pause := c.firstDue(now)
		c.lock.Unlock()
		if due == nil {
			time.Sleep(pause)
			continue
		}
		ready <- due
	}
}

func (c *crowd) wait(one *person) {
	if one.next == mint {
		heap.Push(&c.paying, one)
	} else {
		heap.Push(&c.waiting, one)
	}
}

// firstDue takes out the first who is due; else it says how long to sleep.
func (c *crowd) firstDue(now time.Duration) (*person, time.Duration) {
	pause := longest
	for _, queue := range []*queue{&c.paying, &c.waiting} {
		if queue.Len() == 0 {
			continue
		}
		if (*queue)[0].due <= now {
			c.asking++
			return heap.Pop(queue).(*person), 0
		}
		pause = min(pause, (*queue)[0].due-now)
	}
	if c.asking > 0 {
		pause = look
	}
	return nil, pause
}

// serve sends one person's request after the other's over one connection.
func (c *crowd) serve(ready <-chan *person) {
	connection := connection{address: c.plan.address}
	for one := range ready {
		connection.request = one.write(c.plan, connection.request[:0])
		sent, step := time.Since(c.began), one.next
		heard := connection.ask()
		now := time.Since(c.began)
		c.lock.Lock()
		c.asking--
		if heard == nil {
			c.seen.add(step, "no answer", now, now-sent)
			one.due = now + retryPause
			c.wait(one)
		} else {
			c.seen.add(step, heard.outcome(), now, now-sent)
			if one.hear(c.plan, heard, now) {
				c.wait(one)
			} else {
				c.active--
			}
		}
		c.lock.Unlock()
	}
}

// queue is a heap of people by when they are due.
type queue []*person

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(one any)      { *q = append(*q, one.(*person)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	one := (*q)[last]
	*q = (*q)[:last]
	return one
}
