// Command baseline is what a Go team would write for POST /mint: one process, net/http and pgx, and micro-batches that
// mint many receipts in one transaction. Its schema is that of the Node baseline.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const stopLimit = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	pool, err := openPool(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	drops := &drops{pool: pool, known: map[string]*drop{}}
	routes := http.NewServeMux()
	routes.HandleFunc("POST /mint", mintHandler(drops))
	routes.HandleFunc("GET /drops/{tier}/{year}", statusHandler(drops))
	routes.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		if err := pool.Ping(r.Context()); err != nil {
			refuse(w, retryable)
			return
		}
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: routes, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		stopping, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		if err := server.Shutdown(stopping); err != nil {
			log.Print(err)
		}
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}

// openPool connects by PGHOST, PGUSER and PGDATABASE.
func openPool(ctx context.Context) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, err
	}
	config.MaxConns = 16
	parameters := config.ConnConfig.RuntimeParams
	parameters["application_name"] = "baseline-go"
	parameters["statement_timeout"] = "5000"
	// Batches are small and the tables large: one plan that goes by the indexes is right for all.
	parameters["plan_cache_mode"] = "force_generic_plan"
	for _, scan := range []string{"enable_seqscan", "enable_hashjoin", "enable_mergejoin"} {
		parameters[scan] = "off"
	}
	return pgxpool.NewWithConfig(ctx, config)
}
