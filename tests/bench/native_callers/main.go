// Command native_callers calls one unary gRPC method from many callers at once and reports as tests/bench/lua/result.lua
// does for wrk. It shares the cores with what it measures, so it does as little as wrk: requests are read from a file
// before the first call, and answers are not decoded.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"os"
	"time"
)

func main() {
	target := flag.String("target", "", "host:port")
	method := flag.String("method", "", "/package.Service/Method")
	file := flag.String("requests", "", "file of messages, each behind its length as a varint; each is sent once")
	callers := flag.Int("callers", 1, "calls at once")
	connections := flag.Int("connections", 1, "connections that the callers share")
	duration := flag.Duration("duration", time.Second, "for so long calls begin")
	timeout := flag.Duration("timeout", 10*time.Second, "for one call")
	flag.Parse()

	requests, err := readRequests(*file)
	if err != nil {
		log.Fatal(err)
	}
	channels, err := dial(*target, *connections)
	if err != nil {
		log.Fatal(err)
	}
	seen := call(channels, *method, requests, *callers, *duration, *timeout)
	if err := json.NewEncoder(os.Stdout).Encode(seen.report()); err != nil {
		log.Fatal(err)
	}
}
