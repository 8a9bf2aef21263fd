package main

import (
	"context"
	"log"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	batchLimit    = 64
	batchesAtOnce = 2
	gatherTime    = time.Millisecond
	queueLimit    = 4_096
	mintLimit     = 5 * time.Second
)

// enterReceipts records receipts that are new as refused, and locks those that were refused before. The claim, in the
// same transaction, fulfils what it has numbers for. Receipts go in order, so that two batches cannot wait for each other.
const enterReceipts = `
INSERT INTO receipt_ledger (receipt_hash, state, user_id, reason)
SELECT a.hash, 'FAILED', a.user_id, 'SOLD_OUT'
FROM unnest($1::bytea[], $2::text[]) AS a (hash, user_id) LEFT JOIN receipt_ledger l ON l.receipt_hash = a.hash
WHERE l.state IS DISTINCT FROM 'FULFILLED' ORDER BY a.hash
ON CONFLICT (receipt_hash) DO UPDATE SET receipt_hash = excluded.receipt_hash`

// claimSlots turns slots that nobody else is claiming into memberships, one for each receipt that has none.
const claimSlots = `
WITH pending AS MATERIALIZED (
  SELECT a.hash, a.user_id, row_number() OVER () AS turn, gen_random_uuid() AS id, gen_random_uuid() AS pass_serial
  FROM unnest($2::bytea[], $3::text[]) AS a (hash, user_id) JOIN receipt_ledger l ON l.receipt_hash = a.hash
  WHERE l.state <> 'FULFILLED'
), free AS (
  SELECT sequence_num FROM slots
  WHERE drop_id = $1 AND membership_id IS NULL
  ORDER BY sort_order LIMIT (SELECT count(*) FROM pending)
  FOR UPDATE SKIP LOCKED
), slot AS (
  SELECT sequence_num, row_number() OVER () AS turn FROM free
), won AS MATERIALIZED (
  SELECT hash, user_id, id, pass_serial, sequence_num FROM pending JOIN slot USING (turn)
), claimed AS (
  UPDATE slots s SET membership_id = won.id FROM won
  WHERE s.drop_id = $1 AND s.sequence_num = won.sequence_num
), minted AS (
  INSERT INTO memberships (id, drop_id, sequence_num, user_id, pass_serial)
  SELECT id, $1, sequence_num, user_id, pass_serial FROM won
), fulfilled AS (
  UPDATE receipt_ledger l
  SET state = 'FULFILLED', user_id = won.user_id, membership_id = won.id, reason = NULL, updated_at = now()
  FROM won WHERE l.receipt_hash = won.hash
)
SELECT hash, id::text, sequence_num, pass_serial::text FROM won`

// readMemberships reads what receipts were fulfilled with before.
const readMemberships = `
SELECT l.receipt_hash, m.id::text, d.tier, d.year, m.sequence_num, m.pass_serial::text, m.user_id, m.revoked_at IS NOT NULL
FROM receipt_ledger l JOIN memberships m ON m.id = l.membership_id JOIN drops d ON d.id = m.drop_id
WHERE l.receipt_hash = ANY ($1::bytea[]) AND l.state = 'FULFILLED'`

type receiptHash = [32]byte

// waiting is a receipt in the queue of its drop.
type waiting struct {
	hash    receiptHash
	user    string
	done    chan struct{}
	minted  mintResponse
	refused *refusal
}

// mint waits for the receipt's batch. It refuses at once when more wait than can be served in time.
func (d *drop) mint(hash receiptHash, user string) (*mintResponse, *refusal) {
	one := &waiting{hash: hash, user: user, done: make(chan struct{})}
	select {
	case d.queue <- one:
	default:
		return nil, retryable
	}
	<-one.done
	return &one.minted, one.refused
}

// work mints one batch after the other.
func (d *drop) work() {
	var later []*waiting
	for {
		batch, repeated := d.gather(later)
		later = repeated
		ctx, cancel := context.WithTimeout(context.Background(), mintLimit)
		if err := d.mintBatch(ctx, batch); err != nil {
			log.Print(err)
			for _, one := range batch {
				one.refused = retryable
			}
		}
		cancel()
		for _, one := range batch {
			close(one.done)
		}
	}
}

// gather waits for a receipt, and a moment for more. A receipt that is in the batch already waits for the next.
func (d *drop) gather(earlier []*waiting) (batch, repeated []*waiting) {
	seen := map[receiptHash]bool{}
	take := func(one *waiting) {
		if seen[one.hash] {
			repeated = append(repeated, one)
			return
		}
		seen[one.hash] = true
		batch = append(batch, one)
	}
	for _, one := range earlier {
		take(one)
	}
	if len(batch) == 0 {
		take(<-d.queue)
	}
	timer := time.NewTimer(gatherTime)
	defer timer.Stop()
	for len(batch) < batchLimit {
		select {
		case one := <-d.queue:
			take(one)
		case <-timer.C:
			return batch, repeated
		}
	}
	return batch, repeated
}

// mintBatch gives each receipt its answer. Its statements are one round trip and one transaction.
func (d *drop) mintBatch(ctx context.Context, batch []*waiting) error {
	byHash := make(map[receiptHash]*waiting, len(batch))
	hashes, users := make([][]byte, len(batch)), make([]string, len(batch))
	for i, one := range batch {
		byHash[one.hash] = one
		hashes[i], users[i] = one.hash[:], one.user
	}
	statements := &pgx.Batch{}
	statements.Queue(enterReceipts, hashes, users)
	if time.Now().UnixNano() > d.soldOutUntil.Load() {
		statements.Queue(claimSlots, d.id, hashes, users).Query(func(rows pgx.Rows) error {
			return d.readMinted(rows, byHash)
		})
	}
	if err := d.pool.SendBatch(ctx, statements).Close(); err != nil {
		return err
	}
	if len(byHash) == 0 {
		return nil
	}
	return d.answerOthers(ctx, byHash)
}

// readMinted answers those who have a new membership, and takes them out of `open`.
func (d *drop) readMinted(rows pgx.Rows, open map[receiptHash]*waiting) error {
	var hash []byte
	one := membership{Tier: d.tier, Year: d.year}
	_, err := pgx.ForEachRow(rows, []any{&hash, &one.ID, &one.Number, &one.PassSerial}, func() error {
		open[receiptHash(hash)].minted = mintResponse{"FULFILLED", one, false}
		delete(open, receiptHash(hash))
		return nil
	})
	return err
}

// answerOthers replays what was minted before. For the rest nothing was free.
func (d *drop) answerOthers(ctx context.Context, open map[receiptHash]*waiting) error {
	hashes := make([][]byte, 0, len(open))
	for hash := range open {
		hashes = append(hashes, hash[:])
	}
	rows, err := d.pool.Query(ctx, readMemberships, hashes)
	if err != nil {
		return err
	}
	var hash []byte
	var owner string
	var isRevoked bool
	var one membership
	fields := []any{&hash, &one.ID, &one.Tier, &one.Year, &one.Number, &one.PassSerial, &owner, &isRevoked}
	_, err = pgx.ForEachRow(rows, fields, func() error {
		asked := open[receiptHash(hash)]
		switch {
		case owner != asked.user:
			asked.refused = receiptUsed
		case isRevoked:
			asked.refused = revoked
		default:
			asked.minted = mintResponse{"FULFILLED", one, true}
		}
		delete(open, receiptHash(hash))
		return nil
	})
	if err != nil {
		return err
	}
	for _, one := range open {
		one.refused = soldOut
		d.soldOutUntil.Store(time.Now().Add(memory).UnixNano())
	}
	return nil
}
