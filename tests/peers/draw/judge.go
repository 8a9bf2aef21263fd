package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	page          = 1000
	quicknetChain = "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"
	quicknetKey   = "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451" +
		"0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
)

// UnmarshalText reads lower-case hexadecimal digits.
func (d *digest) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(d) || strings.ToLower(string(text)) != string(text) {
		return errors.New("not 32 bytes in lower-case hex")
	}
	copy(d[:], raw)
	return nil
}

type document struct {
	Tier, Year, State, Terms, Checkpoint, Signature, Cutoff string

	TermsHash   digest `json:"terms_hash"`
	Entries     int
	EntriesRoot digest `json:"entries_root"`
	Seed        digest
	OfferedRank int `json:"offered_rank"`
	Withdrawn   int
	Refused     []struct{ Checkpoint string }
	Beacon      struct{ Round int64 }
}

type terms struct {
	Tier, Year, Key string
	Capacity        int
	EntriesOpen     time.Time `json:"entries_open"`
	EntriesClose    time.Time `json:"entries_close"`
	ChallengeS      int64     `json:"challenge_s"`
	ChainHash       string    `json:"chain_hash"`
	PublicKey       string    `json:"public_key"`
	GenesisTime     int64     `json:"genesis_time"`
	PeriodS         int64     `json:"period_s"`
	Round           int64
}

func (t terms) challenge() time.Duration { return time.Duration(t.ChallengeS) * time.Second }

func (t terms) roundAt(number int64) time.Time {
	return time.Unix(t.GenesisTime+(number-1)*t.PeriodS, 0)
}

type offer struct {
	Rank     int
	LeafHash digest `json:"leaf_hash"`
	Number   int
	Wave     int
}

// A checkpoint is what the operator signed about the entries.
type checkpoint struct {
	round     int64
	published time.Time
}

// judge reads everything of a drawn draw and returns what does not hold.
func judge(documents *source, beaconKey string) error {
	var d document
	if err := documents.read("", &d); err != nil {
		return err
	}
	if d.State != "DRAWN" && d.State != "DONE" {
		return fmt.Errorf("not drawn: %s", d.State)
	}
	t, err := agreedTerms(d, beaconKey)
	if err != nil {
		return err
	}
	leaves, err := listed[digest](documents, "leaves", "leaves", d.Entries)
	if err != nil {
		return err
	}
	withdrawn, err := listed[digest](documents, "withdrawn", "leaves", d.Withdrawn)
	if err != nil {
		return err
	}
	if err := inOrder(leaves, withdrawn); err != nil {
		return err
	}
	round, err := committed(d, t, leaves)
	if err != nil {
		return err
	}
	signature, err := hex.DecodeString(d.Signature)
	key, keyErr := hex.DecodeString(t.PublicKey)
	if err != nil || keyErr != nil || !isBeaconSignature(key, uint64(round), signature) {
		return errors.New("the beacon's signature")
	}
	if d.Seed != seedOf(d.TermsHash, d.EntriesRoot, len(leaves), signature) {
		return errors.New("the seed")
	}
	offers, err := listed[offer](documents, "offers", "offers", d.OfferedRank)
	if err != nil {
		return err
	}
	return drawn(d, t, leaves, offers)
}

func agreedTerms(d document, beaconKey string) (t terms, err error) {
	if sha256.Sum256([]byte(d.Terms)) != d.TermsHash {
		return t, errors.New("the hash of the terms")
	}
	if err := json.Unmarshal([]byte(d.Terms), &t); err != nil {
		return t, err
	}
	isQuicknet := t.ChainHash == quicknetChain && t.PublicKey == quicknetKey && t.GenesisTime == 1692803367 && t.PeriodS == 3
	if beaconKey == "" && !isQuicknet || beaconKey != "" && t.PublicKey != beaconKey {
		return t, errors.New("the beacon's chain and key")
	}
	if t.Round < 1 || t.Tier != d.Tier || t.Year != d.Year || t.Capacity < 1 {
		return t, errors.New("the terms are those of another draw")
	}
	if isQuicknet && (t.EntriesClose.Sub(t.EntriesOpen) < 24*time.Hour || t.ChallengeS < 60) {
		return t, errors.New("the window for entries or for challenges is too short")
	}
	return t, nil
}

// listed reads the `count` items of a paged list; all pages but the last one are full.
func listed[item any](documents *source, kind, field string, count int) ([]item, error) {
	var all []item
	for number := 0; number*page < count; number++ {
		var answer map[string][]item
		if err := documents.read(fmt.Sprintf("/%s/%d", kind, number), &answer); err != nil {
			return nil, err
		}
		items, expected := answer[field], min(page, count-number*page)
		if kind == "offers" && len(items) > expected {
			items = items[:expected] // a wave came after the document was read
		}
		if len(items) != expected {
			return nil, fmt.Errorf("the number of %s", kind)
		}
		all = append(all, items...)
	}
	return all, nil
}

func inOrder(leaves, withdrawn []digest) error {
	seen := map[digest]bool{}
	for _, list := range [][]digest{leaves, withdrawn} {
		for i, leaf := range list {
			if seen[leaf] || i > 0 && string(list[i-1][:]) > string(leaf[:]) {
				return errors.New("the order of the leaves")
			}
			seen[leaf] = true
		}
	}
	return nil
}

// committed checks root and checkpoints, and returns the round that decides.
func committed(d document, t terms, leaves []digest) (int64, error) {
	root, err := rootOf(leaves)
	if err != nil || root != d.EntriesRoot {
		return 0, errors.New("the root")
	}
	var all []checkpoint
	for _, refused := range d.Refused {
		read, err := readCheckpoint(refused.Checkpoint, d, t, len(leaves))
		if err != nil {
			return 0, err
		}
		all = append(all, read)
	}
	last, err := readCheckpoint(d.Checkpoint, d, t, len(leaves))
	if err != nil {
		return 0, err
	}
	all = append(all, last)
	for i := 1; i < len(all); i++ {
		if all[i].round <= all[i-1].round {
			return 0, errors.New("the order of the rounds")
		}
	}
	if last.round != d.Beacon.Round || last.published.Add(t.challenge()).After(t.roundAt(last.round)) {
		return 0, errors.New("the round, or the time of the checkpoint")
	}
	isMoved := all[0].round != t.Round
	if all[0].round < t.Round || isMoved && all[0].published.Add(t.challenge()).Before(t.roundAt(t.Round)) {
		return 0, errors.New("another round without need")
	}
	return last.round, nil
}

func readCheckpoint(text string, d document, t terms, n int) (c checkpoint, err error) {
	verifier, err := note.NewVerifier(t.Key)
	if err != nil {
		return c, err
	}
	signed, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return c, err
	}
	origin := fmt.Sprintf("%s/drops/%s/%s/entries", verifier.Name(), t.Tier, t.Year)
	root := base64.StdEncoding.EncodeToString(d.EntriesRoot[:])
	said, isCut := strings.CutPrefix(signed.Text, fmt.Sprintf("%s\n%d\n%s\nterms %x\nround ", origin, n, root, d.TermsHash))
	round, published, isRound := strings.Cut(said, "\npublished ")
	c.round, err = strconv.ParseInt(round, 10, 64)
	if !isCut || !isRound || err != nil {
		return c, errors.New("what the checkpoint says")
	}
	c.published, err = time.Parse(time.RFC3339, strings.TrimSuffix(published, "\n"))
	if err != nil || c.published.Before(t.EntriesClose) {
		return c, errors.New("the time of the checkpoint")
	}
	return c, nil
}

// rootOf lets Go's own log implementation build the tree.
func rootOf(leaves []digest) (digest, error) {
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = stored[index]
		}
		return found, nil
	})
	for i, leaf := range leaves {
		more, err := tlog.StoredHashesForRecordHash(int64(i), tlog.Hash(leaf), read)
		if err != nil {
			return digest{}, err
		}
		stored = append(stored, more...)
	}
	root, err := tlog.TreeHash(int64(len(leaves)), read)
	return digest(root), err
}

func drawn(d document, t terms, leaves []digest, offers []offer) error {
	order := ordered(d.Seed, len(leaves), func(i int) []byte { return leaves[i][:] })
	numbers := ordered(d.Seed, t.Capacity, func(i int) []byte { return numberMessage(i + 1) })
	if len(offers) < min(len(leaves), t.Capacity) || len(offers) > len(leaves) {
		return errors.New("the number of offers")
	}
	places := make([]int, t.Capacity+1) // of each number in the numbers' order
	for place, number := range numbers {
		places[number+1] = place
	}
	given := make([]int, t.Capacity+1) // the wave that each number was last given in
	wave, place := 1, -1
	for i, o := range offers {
		isFirst := i < t.Capacity
		if o.Rank != i+1 || o.LeafHash != leaves[order[i]] || o.Wave < wave || isFirst != (o.Wave == 1) {
			return fmt.Errorf("the offer of rank %d", i+1)
		}
		if o.Wave > wave {
			wave, place = o.Wave, -1
		}
		if o.Number == 0 {
			continue
		}
		if o.Number < 1 || o.Number > t.Capacity || isFirst && o.Number != numbers[i]+1 ||
			!isFirst && (given[o.Number] >= wave || places[o.Number] <= place) {
			return fmt.Errorf("the number of rank %d", i+1)
		}
		given[o.Number], place = wave, places[o.Number]
	}
	cutoff := ""
	if len(offers) > 0 {
		cutoff = fmt.Sprintf("%x", keyed(d.Seed, offers[len(offers)-1].LeafHash[:]))
	}
	if d.Cutoff != cutoff {
		return errors.New("the cutoff")
	}
	return nil
}
