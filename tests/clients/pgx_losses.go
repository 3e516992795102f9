// pgx behind a proxy whose server is lost; as psycopg_losses.py. The argument says how pgx sends its statements:
//
//	simple     as Query messages, with the values in the text
//	prepare    prepared under a name at their first use, and kept
//	describe   prepared without a name at their first use; the description is kept, and each use parses again
//	uncached   prepared without a name, and executed behind another Sync
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

const patience = time.Minute // for a check; one that hangs fails by its context

type querier interface {
	Exec(ctx context.Context, sql string, arguments ...interface{}) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, arguments ...interface{}) pgx.Row
}

func lose() {
	path := filepath.Join(os.Getenv("HOLDFAST_LOSE"), "lose")
	must(os.WriteFile(path, nil, 0o600))
	for {
		if _, err := os.Stat(path); os.IsNotExist(err) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func number(ctx context.Context, connection querier, sql string, arguments ...interface{}) int {
	var result int
	must(connection.QueryRow(ctx, sql, arguments...).Scan(&result))
	return result
}

func rows(ctx context.Context, connection querier, value int) int {
	return number(ctx, connection, "SELECT count(*) FROM kept WHERE a = $1", value)
}

func insert(ctx context.Context, connection querier, value int) error {
	_, err := connection.Exec(ctx, "INSERT INTO kept VALUES ($1)", value)
	return err
}

// Waits until a server process is in the state that `condition` describes.
func waitFor(ctx context.Context, condition string) {
	other := connect(ctx, os.Args[1], "")
	defer other.Close(ctx)
	for number(ctx, other, "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "+condition) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
}

// The server is lost when it has come to pg_sleep() in `work`, whose error is returned.
func loseInFlight(ctx context.Context, work func() error) string {
	result := make(chan string)
	go func() { result <- stateOf(work()) }()
	waitFor(ctx, "wait_event = 'PgSleep'")
	lose()
	return <-result
}

func idle(ctx context.Context, connection *pgx.Conn) {
	equal(number(ctx, connection, "SELECT $1::int", 1), 1)
	lose()
	equal(number(ctx, connection, "SELECT $1::int", 2), 2)
	lose()
	must(connection.Ping(ctx))
	equal(number(ctx, connection, "SELECT $1::int", 3), 3)
}

func inABlock(ctx context.Context, connection *pgx.Conn) {
	tx, err := connection.Begin(ctx)
	must(err)
	must(insert(ctx, tx, 1))
	lose()
	equal(stateOf(insert(ctx, tx, 1)), "40001")
	equal(stateOf(insert(ctx, tx, 1)), "25P02")
	var one int
	equal(stateOf(tx.QueryRow(ctx, "SELECT $1::int", 1).Scan(&one)), "25P02")
	must(tx.Rollback(ctx))
	equal(rows(ctx, connection, 1), 0)
}

func inABlockThatIsCommitted(ctx context.Context, connection *pgx.Conn) {
	tx, err := connection.Begin(ctx)
	must(err)
	must(insert(ctx, tx, 2))
	lose()
	equal(stateOf(tx.Commit(ctx)), "40001")
	equal(rows(ctx, connection, 2), 0)
}

func inABlockThatIsCommittedInSpiteOfIt(ctx context.Context, connection *pgx.Conn) {
	tx, err := connection.Begin(ctx)
	must(err)
	must(insert(ctx, tx, 3))
	lose()
	equal(stateOf(insert(ctx, tx, 3)), "40001")
	equal(tx.Commit(ctx), pgx.ErrTxCommitRollback)
	equal(rows(ctx, connection, 3), 0)
}

func inABlockThatIsRunAgain(ctx context.Context, connection *pgx.Conn) {
	runs := 0
	work := func(tx pgx.Tx) error {
		runs++
		if err := insert(ctx, tx, 4); err != nil {
			return err
		}
		if runs == 1 {
			lose()
		}
		return insert(ctx, tx, 4)
	}
	err := connection.BeginFunc(ctx, work)
	equal(stateOf(err), "40001")
	must(connection.BeginFunc(ctx, work))
	equal(runs, 2)
	equal(rows(ctx, connection, 4), 2)
}

func behindASavepoint(ctx context.Context, connection *pgx.Conn) {
	outer, err := connection.Begin(ctx)
	must(err)
	must(insert(ctx, outer, 5))
	inner, err := outer.Begin(ctx)
	must(err)
	must(insert(ctx, inner, 5))
	lose()
	equal(stateOf(insert(ctx, inner, 5)), "40001")
	equal(stateOf(inner.Rollback(ctx)), "25P02") // what the savepoint would go back to is gone as well
	equal(stateOf(insert(ctx, outer, 5)), "25P02")
	must(outer.Rollback(ctx))
	equal(rows(ctx, connection, 5), 0)
}

const slowInsert = "INSERT INTO kept SELECT $1::int FROM pg_sleep(600)"

func inFlight(ctx context.Context, connection *pgx.Conn) {
	equal(loseInFlight(ctx, func() error {
		_, err := connection.Exec(ctx, slowInsert, 6)
		return err
	}), "08007")
	equal(rows(ctx, connection, 6), 0)
}

func inFlightInABlock(ctx context.Context, connection *pgx.Conn) {
	tx, err := connection.Begin(ctx)
	must(err)
	must(insert(ctx, tx, 7))
	equal(loseInFlight(ctx, func() error {
		_, err := tx.Exec(ctx, slowInsert, 7)
		return err
	}), "40001")
	equal(stateOf(insert(ctx, tx, 7)), "25P02")
	must(tx.Rollback(ctx))
	equal(rows(ctx, connection, 7), 0)
}

// A read is sent again, unless it may be what crashed the server.
func readInFlight(ctx context.Context, connection *pgx.Conn) {
	locker := connect(ctx, os.Args[1], "")
	defer locker.Close(ctx)
	tx, err := locker.Begin(ctx)
	must(err)
	_, err = tx.Exec(ctx, "LOCK TABLE kept")
	must(err)
	result := make(chan error)
	var found int
	go func() { result <- connection.QueryRow(ctx, "SELECT count(*) FROM kept WHERE a = $1", 8).Scan(&found) }()
	waitFor(ctx, "wait_event_type = 'Lock'")
	lose()
	if state := stateOf(<-result); state != "57P02" {
		equal(state, "no error")
		equal(found, 0)
	}
	equal(rows(ctx, connection, 8), 0)
}

// The same, when the driver only executes: what it has prepared is not known to the next server.
func preparedReadInFlight(ctx context.Context, connection *pgx.Conn) {
	equal(rows(ctx, connection, 8), 0)
	readInFlight(ctx, connection)
}

// The batch's first error, which its end has to say as well.
func runBatch(ctx context.Context, send func(context.Context, *pgx.Batch) pgx.BatchResults, batch *pgx.Batch) error {
	results := send(ctx, batch)
	for i := 0; i < batch.Len(); i++ {
		if _, err := results.Exec(); err != nil {
			if closed := results.Close(); stateOf(closed) != stateOf(err) {
				return fmt.Errorf("%v, and in the end %v", err, closed)
			}
			return err
		}
	}
	return results.Close()
}

func threeInserts(value int) *pgx.Batch {
	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO kept VALUES ($1)", value)
	batch.Queue(slowInsert, value)
	batch.Queue("INSERT INTO kept VALUES ($1)", value)
	return batch
}

func inABatch(ctx context.Context, connection *pgx.Conn) {
	equal(loseInFlight(ctx, func() error { return runBatch(ctx, connection.SendBatch, threeInserts(9)) }), "08007")
	equal(rows(ctx, connection, 9), 0)
	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO kept VALUES ($1)", 9)
	batch.Queue("INSERT INTO kept VALUES ($1)", 9)
	must(runBatch(ctx, connection.SendBatch, batch))
	equal(rows(ctx, connection, 9), 2)
}

func inABatchInABlock(ctx context.Context, connection *pgx.Conn) {
	tx, err := connection.Begin(ctx)
	must(err)
	equal(loseInFlight(ctx, func() error { return runBatch(ctx, tx.SendBatch, threeInserts(10)) }), "40001")
	equal(stateOf(insert(ctx, tx, 10)), "25P02")
	must(tx.Rollback(ctx))
	equal(rows(ctx, connection, 10), 0)
}

// Before the first batch of a block that is lost while the client is silent.
func beforeABatchInABlock(ctx context.Context, connection *pgx.Conn) {
	tx, err := connection.Begin(ctx)
	must(err)
	must(insert(ctx, tx, 11))
	lose()
	equal(stateOf(runBatch(ctx, tx.SendBatch, threeInserts(11))), "40001")
	equal(stateOf(runBatch(ctx, tx.SendBatch, threeInserts(11))), "25P02")
	must(tx.Rollback(ctx))
	equal(rows(ctx, connection, 11), 0)
}

// The batch's COMMIT was on its way: whether it ran is not known. Behind an error in a batch its block is still open.
func inABatchWithItsBlock(ctx context.Context, connection *pgx.Conn) {
	batch := &pgx.Batch{}
	batch.Queue("BEGIN")
	batch.Queue("INSERT INTO kept VALUES ($1)", 12)
	batch.Queue(slowInsert, 12)
	batch.Queue("COMMIT")
	equal(loseInFlight(ctx, func() error { return runBatch(ctx, connection.SendBatch, batch) }), "08007")
	_, err := connection.Exec(ctx, "ROLLBACK")
	must(err)
	equal(rows(ctx, connection, 12), 0)
}

func inABatchThatBegins(ctx context.Context, connection *pgx.Conn) {
	batch := &pgx.Batch{}
	batch.Queue("BEGIN")
	batch.Queue("INSERT INTO kept VALUES ($1)", 17)
	batch.Queue(slowInsert, 17)
	state := loseInFlight(ctx, func() error { return runBatch(ctx, connection.SendBatch, batch) })
	if state != "08007" { // a string of several statements may have committed, for all that is known of it
		equal(state, "40001")
	}
	equal(stateOf(insert(ctx, connection, 17)), "25P02")
	_, err := connection.Exec(ctx, "ROLLBACK")
	must(err)
	equal(rows(ctx, connection, 17), 0)
}

// A COPY is under way when its server process waits for its client.
const copying = "state = 'active' AND wait_event = 'ClientRead' AND query ILIKE 'copy %kept%'"

type losingReader struct {
	ctx   context.Context
	reads int
	done  chan struct{}
}

// Two rows, and the loss between them. pgx reads on in the background behind an error.
func (reader *losingReader) Read(buffer []byte) (int, error) {
	reader.reads++
	switch reader.reads {
	case 2:
		waitFor(reader.ctx, copying)
		lose()
		close(reader.done)
	case 3:
		return 0, io.EOF
	}
	return copy(buffer, "13\n"), nil
}

func inACopy(ctx context.Context, connection *pgx.Conn) {
	reader := &losingReader{ctx: ctx, done: make(chan struct{})}
	_, err := connection.PgConn().CopyFrom(ctx, reader, "COPY kept FROM STDIN")
	equal(stateOf(err), "40001")
	<-reader.done
	equal(rows(ctx, connection, 13), 0)
}

func losingRows(ctx context.Context, value int, done chan struct{}) pgx.CopyFromSource {
	return pgx.CopyFromSlice(2, func(i int) ([]interface{}, error) {
		if i == 1 {
			waitFor(ctx, copying)
			lose()
			close(done)
		}
		return []interface{}{value}, nil
	})
}

func inACopyOfRows(ctx context.Context, connection *pgx.Conn) {
	done := make(chan struct{})
	_, err := connection.CopyFrom(ctx, pgx.Identifier{"kept"}, []string{"a"}, losingRows(ctx, 14, done))
	equal(stateOf(err), "40001")
	<-done
	equal(rows(ctx, connection, 14), 0)
}

func inACopyInABlock(ctx context.Context, connection *pgx.Conn) {
	tx, err := connection.Begin(ctx)
	must(err)
	done := make(chan struct{})
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"kept"}, []string{"a"}, losingRows(ctx, 15, done))
	equal(stateOf(err), "40001")
	<-done
	equal(stateOf(insert(ctx, tx, 15)), "25P02")
	must(tx.Rollback(ctx))
	equal(rows(ctx, connection, 15), 0)
}

// A row of which half has come: whatever followed would be taken for the rest of it.
func inARow(ctx context.Context, connection *pgx.Conn) {
	batch := &pgx.Batch{}
	batch.Queue("SELECT repeat('x', 100000)")
	batch.Queue(slowInsert, 16)
	state := loseInFlight(ctx, func() error { return runBatch(ctx, connection.SendBatch, batch) })
	equal(state, "unexpected EOF")
	equal(connection.IsClosed(), true)
	again := connect(ctx, os.Args[1], "")
	defer again.Close(ctx)
	equal(rows(ctx, again, 16), 0)
}

func inACopyOut(ctx context.Context, connection *pgx.Conn) {
	state := loseInFlight(ctx, func() error {
		_, err := connection.PgConn().CopyTo(ctx, io.Discard,
			"COPY (SELECT repeat('x', 100000) UNION ALL SELECT pg_sleep(600)::text) TO STDOUT")
		return err
	})
	equal(state, "unexpected EOF")
	equal(connection.IsClosed(), true)
}

// What a session has left in its server is gone with it: the session ends, and says so.
func listening(ctx context.Context, connection *pgx.Conn) {
	_, err := connection.Exec(ctx, "LISTEN pgx_losses")
	must(err)
	heard := make(chan error)
	go func() {
		_, err := connection.WaitForNotification(ctx)
		heard <- err
	}()
	lose()
	equal(stateOf(<-heard), "57P01")
	equal(connection.IsClosed(), true)
}

func inAPool(ctx context.Context, _ *pgx.Conn) {
	config, err := pgxpool.ParseConfig("pool_max_conns=4")
	must(err)
	config.ConnConfig = configuration(os.Args[1], "")
	pool, err := pgxpool.ConnectConfig(ctx, config)
	must(err)
	defer pool.Close()
	results := make(chan string)
	for turn := 0; turn < 2; turn++ {
		for i := 0; i < 20; i++ {
			go func() {
				var result int
				results <- stateOf(pool.QueryRow(ctx, "SELECT $1::int FROM pg_sleep(0.01)", turn).Scan(&result))
			}()
		}
		for i := 0; i < 20; i++ {
			equal(<-results, "no error")
		}
		if turn == 0 {
			lose()
		}
	}
}

func run(name string, check func(context.Context, *pgx.Conn)) (failures int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer func() {
		if problem := recover(); problem != nil { // every check reports, whatever went wrong in it
			failures = 1
			fmt.Printf("FAILED %s\n%v\n%s\n", name, problem, debug.Stack())
		}
	}()
	connection := connect(ctx, os.Args[1], "")
	defer connection.Close(ctx)
	check(ctx, connection)
	fmt.Println("ok    ", name)
	return 0
}

func main() {
	checks := []struct {
		name  string
		check func(context.Context, *pgx.Conn)
	}{
		{"idle", idle},
		{"in_a_block", inABlock},
		{"in_a_block_that_is_committed", inABlockThatIsCommitted},
		{"in_a_block_that_is_committed_in_spite_of_it", inABlockThatIsCommittedInSpiteOfIt},
		{"in_a_block_that_is_run_again", inABlockThatIsRunAgain},
		{"behind_a_savepoint", behindASavepoint},
		{"in_flight", inFlight},
		{"in_flight_in_a_block", inFlightInABlock},
		{"read_in_flight", readInFlight},
		{"prepared_read_in_flight", preparedReadInFlight},
		{"in_a_batch", inABatch},
		{"in_a_batch_in_a_block", inABatchInABlock},
		{"before_a_batch_in_a_block", beforeABatchInABlock},
		{"in_a_batch_with_its_block", inABatchWithItsBlock},
		{"in_a_batch_that_begins", inABatchThatBegins},
		{"in_a_copy", inACopy},
		{"in_a_copy_of_rows", inACopyOfRows},
		{"in_a_copy_in_a_block", inACopyInABlock},
		{"in_a_row", inARow},
		{"in_a_copy_out", inACopyOut},
		{"listening", listening},
		{"in_a_pool", inAPool},
	}
	failures := 0
	for _, check := range checks {
		failures += run(check.name, check.check)
	}
	if failures > 0 {
		os.Exit(1)
	}
}
