package main

import (
	"encoding/json"
	"log"
	"net/http"
)

// refusal is an error in the contract's form.
type refusal struct {
	status    int
	Error     string `json:"error"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
}

var (
	soldOut        = &refusal{410, "SOLD_OUT", "No allocations remaining for this drop", false}
	receiptUsed    = &refusal{409, "RECEIPT_USED", "This receipt was used by another user", false}
	revoked        = &refusal{422, "INVALID_RECEIPT", "The membership of this receipt was revoked", false}
	noReceipt      = &refusal{422, "INVALID_RECEIPT", "receipt_data is missing", false}
	noUser         = &refusal{422, "INVALID_RECEIPT", "user_id is missing", false}
	invalidRequest = &refusal{422, "INVALID_REQUEST", "The request is not valid", false}
	tooLarge       = &refusal{413, "INVALID_REQUEST", "The request is not valid", false}
	notFound       = &refusal{404, "NOT_FOUND", "There is no such drop", false}
	retryable      = &refusal{500, "RETRYABLE", "The request could not be finished; send it again", true}
)

func refuse(w http.ResponseWriter, refusal *refusal) { answer(w, refusal.status, refusal) }

func answer(w http.ResponseWriter, status int, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		log.Panic(err) // the types of all bodies are known
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(encoded); err != nil {
		log.Print(err) // the caller has gone
	}
}
