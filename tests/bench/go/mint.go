package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"regexp"
	"strings"
)

const (
	bodyLimit    = 65_536
	receiptLimit = 49_152
	userLimit    = 128
)

var (
	printable = regexp.MustCompile(`^[\x20-\x7e]*$`)
	tierForm  = regexp.MustCompile(`^[a-z0-9-]{0,32}$`)
)

type mintRequest struct {
	Receipt string `json:"receipt_data"`
	User    string `json:"user_id"`
	Tier    string `json:"tier"`
	Year    string `json:"year"`
}

type mintResponse struct {
	Status     string     `json:"status"`
	Membership membership `json:"membership"`
	Replayed   bool       `json:"replayed"`
}

type membership struct {
	ID         string `json:"id"`
	Tier       string `json:"tier"`
	Year       string `json:"year"`
	Number     int    `json:"sequence_num"`
	PassSerial string `json:"pass_serial"`
}

// mintHandler answers POST /mint: a receipt becomes a membership, at most once.
func mintHandler(drops *drops) http.HandlerFunc {
	defaultTier, defaultYear := setting("DROP_TIER", "genesis"), setting("DROP_YEAR", "2025")
	return func(w http.ResponseWriter, r *http.Request) {
		var asked mintRequest
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit)).Decode(&asked); err != nil {
			if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
				refuse(w, tooLarge)
				return
			}
			refuse(w, invalidRequest)
			return
		}
		if refused := asked.check(); refused != nil {
			refuse(w, refused)
			return
		}
		found, refused := drops.named(r.Context(), or(asked.Tier, defaultTier), or(asked.Year, defaultYear))
		if refused != nil {
			refuse(w, refused)
			return
		}
		minted, refused := found.mint(sha256.Sum256([]byte(asked.Receipt)), asked.User)
		if refused != nil {
			refuse(w, refused)
			return
		}
		answer(w, http.StatusCreated, minted)
	}
}

// check is the JSON schema of the Node baseline.
func (m *mintRequest) check() *refusal {
	switch {
	case len(m.Receipt) > receiptLimit || len(m.User) > userLimit || len(m.Year) > 4:
		return invalidRequest
	case !printable.MatchString(m.User) || !tierForm.MatchString(m.Tier):
		return invalidRequest
	case strings.TrimSpace(m.Receipt) == "":
		return noReceipt
	case strings.TrimSpace(m.User) == "":
		return noUser
	}
	return nil
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func setting(name, otherwise string) string { return or(os.Getenv(name), otherwise) }
