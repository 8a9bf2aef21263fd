package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// encoded passes messages on as they are.
type encoded struct{}

func (encoded) Marshal(message any) ([]byte, error) {
	bytes, ok := message.([]byte)
	if !ok {
		return nil, fmt.Errorf("not an encoded message: %T", message)
	}
	return bytes, nil
}

func (encoded) Unmarshal([]byte, any) error { return nil }

func (encoded) Name() string { return "proto" }

// dial makes channels of one connection each, and begins to connect.
func dial(target string, connections int) ([]*grpc.ClientConn, error) {
	channels := make([]*grpc.ClientConn, connections)
	for i := range channels {
		channel, err := grpc.NewClient(
			target,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(encoded{})),
		)
		if err != nil {
			return nil, err
		}
		channel.Connect()
		channels[i] = channel
	}
	return channels, nil
}

// call sends each request at most once, from so many callers at once, each of which sends its next when the last is
// answered, until the time is over.
func call(
	channels []*grpc.ClientConn, method string, requests [][]byte, callers int, duration, timeout time.Duration,
) seen {
	var next atomic.Int64
	var running sync.WaitGroup
	results := make([]seen, callers)
	began := time.Now()
	for i := range results {
		running.Go(func() {
			for time.Since(began) < duration {
				number := int(next.Add(1)) - 1
				if number >= len(requests) {
					return
				}
				results[i].add(once(channels[i%len(channels)], method, requests[number], timeout))
			}
		})
	}
	running.Wait()
	return joined(results, time.Since(began))
}

func once(channel *grpc.ClientConn, method string, request []byte, timeout time.Duration) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	began := time.Now()
	err := channel.Invoke(ctx, method, request, nil)
	return outcome{took: time.Since(began), code: status.Code(err)}
}
