package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	findDrop = `SELECT id, capacity FROM drops WHERE tier = $1 AND year = $2`
	// countFree reads the partial index of unclaimed slots.
	countFree = `SELECT count(*) FROM slots WHERE drop_id = $1 AND membership_id IS NULL`
	// memory is how long a drop counts as sold out, and how old a status can be.
	memory = time.Second
)

// drop is one drop, with its queue of receipts to mint.
type drop struct {
	id           int
	tier, year   string
	capacity     int
	pool         *pgxpool.Pool
	queue        chan *waiting
	soldOutUntil atomic.Int64 // Unix time in nanoseconds

	lock     sync.Mutex
	status   status
	statusAt time.Time
}

type status struct {
	Tier      string `json:"tier"`
	Year      string `json:"year"`
	State     string `json:"state"`
	Capacity  int    `json:"capacity"`
	Minted    int    `json:"minted"`
	Remaining int    `json:"remaining"`
}

// drops are those that somebody has asked for.
type drops struct {
	pool  *pgxpool.Pool
	lock  sync.RWMutex
	known map[string]*drop
}

func (d *drops) named(ctx context.Context, tier, year string) (*drop, *refusal) {
	name := tier + "/" + year
	d.lock.RLock()
	found := d.known[name]
	d.lock.RUnlock()
	if found != nil {
		return found, nil
	}
	d.lock.Lock()
	defer d.lock.Unlock()
	if found := d.known[name]; found != nil {
		return found, nil
	}
	made := &drop{tier: tier, year: year, pool: d.pool, queue: make(chan *waiting, queueLimit)}
	err := d.pool.QueryRow(ctx, findDrop, tier, year).Scan(&made.id, &made.capacity)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, notFound
	}
	if err != nil {
		log.Print(err)
		return nil, retryable
	}
	for range batchesAtOnce {
		go made.work()
	}
	d.known[name] = made
	return made, nil
}

// statusHandler answers GET /drops/{tier}/{year}, at most a second old.
func statusHandler(drops *drops) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		found, refused := drops.named(r.Context(), r.PathValue("tier"), r.PathValue("year"))
		if refused != nil {
			refuse(w, refused)
			return
		}
		now, err := found.readStatus(r.Context())
		if err != nil {
			log.Print(err)
			refuse(w, retryable)
			return
		}
		answer(w, http.StatusOK, now)
	}
}

func (d *drop) readStatus(ctx context.Context) (status, error) {
	d.lock.Lock()
	defer d.lock.Unlock()
	if time.Since(d.statusAt) < memory {
		return d.status, nil
	}
	var free int
	if err := d.pool.QueryRow(ctx, countFree, d.id).Scan(&free); err != nil {
		return status{}, err
	}
	state := "OPEN"
	if free == 0 {
		state = "SOLD_OUT"
	}
	d.status = status{d.tier, d.year, state, d.capacity, d.capacity - free, free}
	d.statusAt = time.Now()
	return d.status, nil
}
