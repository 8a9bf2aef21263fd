package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/cloudflare/circl/sign/bls"
)

// A digest is a SHA-256.
type digest [sha256.Size]byte

// isBeaconSignature says whether a signature is the beacon's for the round (drand's bls-unchained-g1-rfc9380).
func isBeaconSignature(publicKey []byte, round uint64, signature []byte) bool {
	key := new(bls.PublicKey[bls.KeyG2SigG1])
	if key.UnmarshalBinary(publicKey) != nil || !key.Validate() {
		return false
	}
	message := sha256.Sum256(binary.BigEndian.AppendUint64(nil, round))
	return bls.Verify(key, message[:], signature)
}

func seedOf(termsHash, root digest, entries int, signature []byte) digest {
	message := append([]byte("vyris-draw-v1\n"), termsHash[:]...)
	message = append(message, root[:]...)
	message = binary.BigEndian.AppendUint64(message, uint64(entries))
	return sha256.Sum256(append(message, signature...))
}

func keyed(seed digest, message []byte) (key digest) {
	mac := hmac.New(sha256.New, seed[:])
	mac.Write(message)
	copy(key[:], mac.Sum(nil))
	return key
}

// ordered returns the positions 0 … n-1 by the key of what `message` says of each.
func ordered(seed digest, n int, message func(int) []byte) []int {
	keys, positions := make([]digest, n), make([]int, n)
	for i := range n {
		keys[i], positions[i] = keyed(seed, message(i)), i
	}
	slices.SortFunc(positions, func(a, b int) int { return slices.Compare(keys[a][:], keys[b][:]) })
	return positions
}

func numberMessage(number int) []byte {
	return binary.BigEndian.AppendUint32([]byte("number"), uint32(number))
}
