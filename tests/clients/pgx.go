// pgx against a server or a proxy: its four ways to send a statement, batches, prepared names, transactions, COPY, large
// objects, NOTIFY, cancel, pools, database/sql.
//
// Where to connect comes from libpq's environment (PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE). Each
// check runs in each way (see pgx_losses.go) and prints its name; any failure makes the exit code 1.
package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
	"github.com/jackc/pgx/v4/stdlib"
)

var modes = []string{"simple", "prepare", "describe", "uncached"}

type querier interface {
	QueryRow(ctx context.Context, sql string, arguments ...interface{}) pgx.Row
}

func run(ctx context.Context, connection *pgx.Conn, sql string, arguments ...interface{}) {
	_, err := connection.Exec(ctx, sql, arguments...)
	must(err)
}

func number(ctx context.Context, connection querier, sql string, arguments ...interface{}) int {
	var result int
	must(connection.QueryRow(ctx, sql, arguments...).Scan(&result))
	return result
}

func text(ctx context.Context, connection querier, sql string, arguments ...interface{}) string {
	var result string
	must(connection.QueryRow(ctx, sql, arguments...).Scan(&result))
	return result
}

func valuesComeBackAsSent(ctx context.Context, mode string) {
	connection := connect(ctx, mode, "")
	defer connection.Close(ctx)
	at := time.Date(2024, 2, 29, 23, 59, 59, 123456000, time.UTC)
	var (
		whole    int64
		words    string
		raw      []byte
		list     []int32
		object   map[string]interface{}
		moment   time.Time
		real     float64
		nothing  *string
		anything bool
	)
	for i := 0; i < 3; i++ {
		must(connection.QueryRow(ctx, `SELECT $1::bigint, $2::text, $3::bytea, $4::int[], $5::jsonb, $6::timestamptz, $7::float8,
			$8::text, $9::bool`, int64(9007199254740993), "naïve ☃ ' \\ $1", []byte{0, 1, 255}, "{1,2,3}", `{"deep":[1,null]}`, at,
			-1.5e-300, nil, true).Scan(&whole, &words, &raw, &list, &object, &moment, &real, &nothing, &anything))
		equal(whole, int64(9007199254740993))
		equal(words, "naïve ☃ ' \\ $1")
		equal(string(raw), "\x00\x01\xff")
		equal(fmt.Sprint(list, object), "[1 2 3] map[deep:[1 <nil>]]")
		equal(moment.Equal(at), true)
		equal(real, -1.5e-300)
		equal(nothing == nil && anything, true)
	}
}

func preparedNamesOfNeighboursDoNotMix(ctx context.Context, mode string) {
	if mode == "describe" {
		return // pgx sends a statement's name as its text, to PostgreSQL too
	}
	var connections []*pgx.Conn
	for i := 0; i < 6; i++ {
		connection := connect(ctx, mode, "")
		defer connection.Close(ctx)
		_, err := connection.Prepare(ctx, "same_name", fmt.Sprintf("SELECT $1::int + %d", i))
		must(err)
		connections = append(connections, connection)
	}
	for turn := 0; turn < 15; turn++ {
		for i, connection := range connections {
			equal(number(ctx, connection, "same_name", turn), turn+i)
		}
	}
	must(connections[0].Deallocate(ctx, "same_name"))
	_, err := connections[0].Prepare(ctx, "same_name", "SELECT -$1::int")
	must(err)
	equal(number(ctx, connections[0], "same_name", 5), -5)
	equal(number(ctx, connections[1], "same_name", 5), 6)
}

// What falls out of the cache is deallocated in SQL.
func moreStatementsThanItsCacheHolds(ctx context.Context, mode string) {
	options := ""
	if mode == "prepare" || mode == "describe" {
		options = "statement_cache_capacity=3"
	}
	connection := connect(ctx, mode, options)
	defer connection.Close(ctx)
	for turn := 0; turn < 5; turn++ {
		for i := 0; i < 8; i++ {
			equal(number(ctx, connection, fmt.Sprintf("SELECT $1::int * %d", i), turn), turn*i)
		}
	}
}

func transactionsCommitAndRollBack(ctx context.Context, mode string) {
	connection := connect(ctx, mode, "")
	defer connection.Close(ctx)
	run(ctx, connection, "CREATE TEMP TABLE kept (a int PRIMARY KEY)")
	insert := func(tx pgx.Tx, value int) error {
		_, err := tx.Exec(ctx, "INSERT INTO kept VALUES ($1)", value)
		return err
	}
	must(connection.BeginFunc(ctx, func(tx pgx.Tx) error {
		must(insert(tx, 1))
		equal(stateOf(tx.BeginFunc(ctx, func(inner pgx.Tx) error { return insert(inner, 1) })), "23505")
		return insert(tx, 2)
	}))
	equal(stateOf(connection.BeginFunc(ctx, func(tx pgx.Tx) error {
		must(insert(tx, 3))
		return insert(tx, 2)
	})), "23505")
	tx, err := connection.Begin(ctx)
	must(err)
	equal(stateOf(insert(tx, 1)), "23505")
	equal(stateOf(insert(tx, 4)), "25P02")
	equal(tx.Commit(ctx), pgx.ErrTxCommitRollback)
	equal(text(ctx, connection, "SELECT string_agg(a::text, ',' ORDER BY a) FROM kept"), "1,2")
}

func modesOfATransactionHold(ctx context.Context, mode string) {
	connection := connect(ctx, mode, "")
	defer connection.Close(ctx)
	options := pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly, DeferrableMode: pgx.Deferrable}
	tx, err := connection.BeginTx(ctx, options)
	must(err)
	equal(text(ctx, tx, "SHOW transaction_isolation"), "serializable")
	equal(text(ctx, tx, "SHOW transaction_deferrable"), "on")
	_, err = tx.Exec(ctx, "CREATE TABLE pgx_never (a int)")
	equal(stateOf(err), "25006")
	must(tx.Rollback(ctx))
	equal(text(ctx, connection, "SHOW transaction_isolation"), "read committed")
}

func errorsHaveTheirSqlstate(ctx context.Context, mode string) {
	connection := connect(ctx, mode, "")
	defer connection.Close(ctx)
	for i := 0; i < 3; i++ {
		for sql, state := range map[string]string{"SELEC $1::int": "42601", "SELECT 1 / $1::int": "22012",
			"SELECT $1::int FROM no_such_table": "42P01", "SELECT no_such_function($1::int)": "42883"} {
			var result int
			equal(stateOf(connection.QueryRow(ctx, sql, 0).Scan(&result)), state)
		}
		must(connection.Ping(ctx))
		equal(number(ctx, connection, "SELECT $1::int", i), i)
	}
}

// Far more than the sockets hold, both ways.
func aBatchIsAnsweredInOrder(ctx context.Context, mode string) {
	connection := connect(ctx, mode, "")
	defer connection.Close(ctx)
	padding := strings.Repeat("x", 500)
	batch := &pgx.Batch{}
	for i := 0; i < 10000; i++ {
		batch.Queue("SELECT $1::int, $2::text", i, padding)
	}
	results := connection.SendBatch(ctx, batch)
	for i := 0; i < batch.Len(); i++ {
		var index int
		var value string
		must(results.QueryRow().Scan(&index, &value))
		equal(index, i)
		equal(value, padding)
	}
	must(results.Close())
}

func aFailingBatchUndoesItself(ctx context.Context, mode string) {
	connection := connect(ctx, mode, "")
	defer connection.Close(ctx)
	run(ctx, connection, "CREATE TEMP TABLE kept (a int PRIMARY KEY)")
	for i := 0; i < 3; i++ {
		batch := &pgx.Batch{}
		for _, value := range []int{1, 2, 1, 3} {
			batch.Queue("INSERT INTO kept VALUES ($1)", value)
		}
		results := connection.SendBatch(ctx, batch)
		for _, state := range []string{"no error", "no error", "23505", "23505"} {
			_, err := results.Exec()
			equal(stateOf(err), state)
		}
		equal(stateOf(results.Close()), "23505")
		equal(number(ctx, connection, "SELECT count(*) FROM kept WHERE a > $1", 0), 0)
	}
}

func aBatchMayHoldItsTransaction(ctx context.Context, mode string) {
	connection := connect(ctx, mode, "")
	defer connection.Close(ctx)
	run(ctx, connection, "CREATE TEMP TABLE kept (a int)")
	for i := 1; i <= 3; i++ {
		batch := &pgx.Batch{}
		batch.Queue("BEGIN")
		batch.Queue("INSERT INTO kept VALUES ($1)", i)
		batch.Queue("SELECT count(*) FROM kept")
		batch.Queue("COMMIT")
		results := connection.SendBatch(ctx, batch)
		for _, tag := range []string{"BEGIN", "INSERT 0 1", "SELECT 1", "COMMIT"} {
			got, err := results.Exec()
			must(err)
			equal(string(got), tag)
		}
		must(results.Close())
		equal(number(ctx, connection, "SELECT count(*) FROM kept"), i)
	}
}

func aTableChangesUnderAStatement(ctx context.Context, mode string) {
	if mode == "describe" {
		return // pgx binds with the old description and gets 08P01, from PostgreSQL too
	}
	connection := connect(ctx, mode, "")
	defer connection.Close(ctx)
	run(ctx, connection, "DROP TABLE IF EXISTS pgx_changed")
	run(ctx, connection, "CREATE TABLE pgx_changed AS SELECT 1 AS a")
	columns := func() (int, error) {
		rows, err := connection.Query(ctx, "SELECT * FROM pgx_changed")
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		rows.Next()
		values, _ := rows.Values()
		rows.Close()
		return len(values), rows.Err()
	}
	for i := 0; i < 3; i++ {
		count, err := columns()
		must(err)
		equal(count, 1)
	}
	other := connect(ctx, mode, "")
	defer other.Close(ctx)
	run(ctx, other, "ALTER TABLE pgx_changed ADD COLUMN b int")
	count, err := columns()
	if mode == "prepare" && stateOf(err) == "0A000" { // pgx prepares again at the next use
		count, err = columns()
	}
	must(err)
	equal(count, 2)
	run(ctx, connection, "DROP TABLE pgx_changed")
}

func copyGoesBothWays(ctx context.Context, mode string) {
	connection := connect(ctx, mode, "")
	defer connection.Close(ctx)
	run(ctx, connection, "CREATE TEMP TABLE copied (id int, note text)")
	copied, err := connection.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id", "note"},
		pgx.CopyFromSlice(50000, func(i int) ([]interface{}, error) { return []interface{}{i, fmt.Sprint("row ", i)}, nil }))
	must(err)
	equal(copied, int64(50000))
	var out bytes.Buffer
	_, err = connection.PgConn().CopyTo(ctx, &out, "COPY (SELECT * FROM copied ORDER BY id) TO STDOUT")
	must(err)
	run(ctx, connection, "TRUNCATE copied")
	sent := out.String()
	_, err = connection.PgConn().CopyFrom(ctx, &out, "COPY copied FROM STDIN")
	must(err)
	_, err = connection.PgConn().CopyTo(ctx, &out, "COPY (SELECT * FROM copied ORDER BY id) TO STDOUT")
	must(err)
	equal(out.String(), sent)
}

// One that PostgreSQL refuses while data flows, and one that its source gives up.
func aFailingCopyHurtsNobody(ctx context.Context, mode string) {
	connection, neighbour := connect(ctx, mode, ""), connect(ctx, mode, "")
	defer connection.Close(ctx)
	defer neighbour.Close(ctx)
	run(ctx, neighbour, "CREATE TABLE IF NOT EXISTS pgx_copied (a int)")
	for i := 0; i < 3; i++ {
		bad := strings.NewReader("not a number\n" + strings.Repeat("1\n", 3000000))
		_, err := connection.PgConn().CopyFrom(ctx, bad, "COPY pgx_copied FROM STDIN")
		equal(stateOf(err), "22P02")
		equal(number(ctx, neighbour, "SELECT count(*) FROM pgx_copied"), 0)
		_, err = connection.CopyFrom(ctx, pgx.Identifier{"pgx_copied"}, []string{"a"},
			pgx.CopyFromSlice(100000, func(i int) ([]interface{}, error) {
				if i == 99999 {
					return nil, errors.New("the source ends")
				}
				return []interface{}{i}, nil
			}))
		equal(stateOf(err), "57014")
		equal(number(ctx, neighbour, "SELECT count(*) FROM pgx_copied"), 0)
		equal(number(ctx, connection, "SELECT $1::int", i), i)
	}
	run(ctx, connection, "DROP TABLE pgx_copied")
}

func largeValuesPass(ctx context.Context, mode string) {
	connection := connect(ctx, mode, "")
	defer connection.Close(ctx)
	value := strings.Repeat("ä", 4*1024*1024)
	equal(text(ctx, connection, "SELECT $1::text", value), value)
}

func largeObjectsKeepTheirBytes(ctx context.Context, mode string) {
	connection := connect(ctx, mode, "")
	defer connection.Close(ctx)
	var object uint32
	must(connection.BeginFunc(ctx, func(tx pgx.Tx) error {
		objects := tx.LargeObjects()
		var err error
		object, err = objects.Create(ctx, 0)
		must(err)
		file, err := objects.Open(ctx, object, pgx.LargeObjectModeWrite)
		must(err)
		_, err = file.Write([]byte("large objects"))
		must(err)
		return file.Close()
	}))
	must(connection.BeginFunc(ctx, func(tx pgx.Tx) error {
		objects := tx.LargeObjects()
		file, err := objects.Open(ctx, object, pgx.LargeObjectModeRead)
		must(err)
		_, err = file.Seek(6, io.SeekStart)
		must(err)
		rest := make([]byte, 7)
		_, err = file.Read(rest)
		must(err)
		equal(string(rest), "objects")
		return objects.Unlink(ctx, object)
	}))
}

func startParametersHold(ctx context.Context, mode string) {
	config := configuration(mode, "application_name='pgx check'")
	config.RuntimeParams["statement_timeout"] = "4321"
	config.RuntimeParams["search_path"] = "pg_catalog"
	connection, err := pgx.ConnectConfig(ctx, config)
	must(err)
	defer connection.Close(ctx)
	for i := 0; i < 5; i++ {
		equal(text(ctx, connection, "SHOW application_name"), "pgx check")
		equal(text(ctx, connection, "SHOW search_path"), "pg_catalog")
		equal(text(ctx, connection, "SHOW statement_timeout"), "4321ms")
	}
	run(ctx, connection, "SET statement_timeout = 1000")
	run(ctx, connection, "RESET ALL")
	equal(text(ctx, connection, "SHOW statement_timeout"), "4321ms")
}

func notificationsArrive(ctx context.Context, mode string) {
	listener, sender := connect(ctx, mode, ""), connect(ctx, mode, "")
	defer listener.Close(ctx)
	defer sender.Close(ctx)
	run(ctx, listener, "LISTEN pgx_news")
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	_, err := listener.WaitForNotification(short) // a wait that ends by itself leaves the connection usable
	cancel()
	equal(errors.Is(err, context.DeadlineExceeded), true)
	for i := 0; i < 3; i++ {
		run(ctx, sender, "SELECT pg_notify('pgx_news', $1)", fmt.Sprint("it's ", i))
		news, err := listener.WaitForNotification(ctx)
		must(err)
		equal(news.Channel+" "+news.Payload, fmt.Sprint("pgx_news it's ", i))
	}
	equal(number(ctx, listener, "SELECT $1::int", 1), 1)
}

// Until nothing, or something, sleeps for the check of this name.
func waitForSleepers(ctx context.Context, connection *pgx.Conn, name string, some bool) {
	for (number(ctx, connection, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE "+
		"'%'||$1||'%'", name) > 0) != some {
		time.Sleep(10 * time.Millisecond)
	}
}

// pgx closes its connection, and sends a CancelRequest for what runs there.
func aContextThatEndsCancels(ctx context.Context, mode string) {
	connection, neighbour := connect(ctx, mode, ""), connect(ctx, mode, "")
	defer connection.Close(ctx)
	defer neighbour.Close(ctx)
	for _, sql := range []string{"SELECT 'ending' FROM pg_sleep($1)", "BEGIN"} {
		victim := connect(ctx, mode, "")
		ending, cancel := context.WithCancel(ctx)
		result := make(chan error)
		go func() {
			if sql == "BEGIN" {
				if _, err := victim.Begin(ending); err != nil {
					result <- err
					return
				}
			}
			_, err := victim.Exec(ending, "SELECT 'ending' FROM pg_sleep($1)", 600)
			result <- err
		}()
		waitForSleepers(ctx, neighbour, "ending", true)
		cancel()
		equal(errors.Is(<-result, context.Canceled), true)
		waitForSleepers(ctx, neighbour, "ending", false)
		<-victim.PgConn().CleanupDone()
		equal(victim.IsClosed(), true)
	}
	equal(number(ctx, connection, "SELECT $1::int", 1), 1)
}

func aCancelEndsTheStatementAndNothingElse(ctx context.Context, mode string) {
	connection, neighbour := connect(ctx, mode, ""), connect(ctx, mode, "")
	defer connection.Close(ctx)
	defer neighbour.Close(ctx)
	for i := 0; i < 3; i++ {
		result := make(chan error)
		go func() {
			_, err := connection.Exec(ctx, "SELECT 'cancelled' FROM pg_sleep($1)", 600)
			result <- err
		}()
		waitForSleepers(ctx, neighbour, "cancelled", true)
		must(connection.PgConn().CancelRequest(ctx))
		equal(stateOf(<-result), "57014")
		equal(number(ctx, connection, "SELECT $1::int", i), i)
	}
}

func aBusyPoolAnswersEverybody(ctx context.Context, mode string) {
	config, err := pgxpool.ParseConfig("pool_max_conns=10")
	must(err)
	config.ConnConfig = configuration(mode, "")
	pool, err := pgxpool.ConnectConfig(ctx, config)
	must(err)
	defer pool.Close()
	results := make(chan string)
	for i := 0; i < 300; i++ {
		go func(i int) {
			err := pool.BeginFunc(ctx, func(tx pgx.Tx) error {
				var result int
				if err := tx.QueryRow(ctx, "SELECT $1::int * 3", i).Scan(&result); err != nil {
					return err
				}
				if result != i*3 {
					return fmt.Errorf("%d is not 3 * %d", result, i)
				}
				return nil
			})
			results <- stateOf(err)
		}(i)
	}
	for i := 0; i < 300; i++ {
		equal(<-results, "no error")
	}
}

func databaseSqlWorks(ctx context.Context, mode string) {
	if mode == "describe" {
		return // as for prepared names
	}
	db := stdlib.OpenDB(*configuration(mode, ""))
	defer db.Close()
	db.SetMaxOpenConns(6)
	must(db.PingContext(ctx))
	statement, err := db.PrepareContext(ctx, "SELECT $1::int + 1")
	must(err)
	defer statement.Close()
	results := make(chan string)
	for i := 0; i < 100; i++ {
		go func(i int) {
			var sum int
			err := statement.QueryRowContext(ctx, i).Scan(&sum)
			if err == nil && sum != i+1 {
				err = fmt.Errorf("%d is not %d + 1", sum, i)
			}
			results <- stateOf(err)
		}(i)
	}
	for i := 0; i < 100; i++ {
		equal(<-results, "no error")
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	must(err)
	var sum int
	must(tx.StmtContext(ctx, statement).QueryRowContext(ctx, 41).Scan(&sum))
	equal(sum, 42)
	must(tx.Commit())
}

func aWrongPasswordIs28P01(ctx context.Context, mode string) {
	if os.Getenv("HOLDFAST_TRUST") != "" {
		return
	}
	config := configuration(mode, "")
	config.Password = "surely wrong"
	_, err := pgx.ConnectConfig(ctx, config)
	equal(stateOf(err), "28P01")
}

func attempt(name, mode string, check func(context.Context, string)) (failures int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer func() {
		if problem := recover(); problem != nil { // every check reports, whatever went wrong in it
			failures = 1
			fmt.Printf("FAILED %s (%s)\n%v\n%s\n", name, mode, problem, debug.Stack())
		}
	}()
	check(ctx, mode)
	fmt.Printf("ok     %s (%s)\n", name, mode)
	return 0
}

func main() {
	checks := []struct {
		name  string
		check func(context.Context, string)
	}{
		{"values_come_back_as_sent", valuesComeBackAsSent},
		{"prepared_names_of_neighbours_do_not_mix", preparedNamesOfNeighboursDoNotMix},
		{"more_statements_than_its_cache_holds", moreStatementsThanItsCacheHolds},
		{"transactions_commit_and_roll_back", transactionsCommitAndRollBack},
		{"modes_of_a_transaction_hold", modesOfATransactionHold},
		{"errors_have_their_sqlstate", errorsHaveTheirSqlstate},
		{"a_batch_is_answered_in_order", aBatchIsAnsweredInOrder},
		{"a_failing_batch_undoes_itself", aFailingBatchUndoesItself},
		{"a_batch_may_hold_its_transaction", aBatchMayHoldItsTransaction},
		{"a_table_changes_under_a_statement", aTableChangesUnderAStatement},
		{"copy_goes_both_ways", copyGoesBothWays},
		{"a_failing_copy_hurts_nobody", aFailingCopyHurtsNobody},
		{"large_values_pass", largeValuesPass},
		{"large_objects_keep_their_bytes", largeObjectsKeepTheirBytes},
		{"start_parameters_hold", startParametersHold},
		{"notifications_arrive", notificationsArrive},
		{"a_context_that_ends_cancels", aContextThatEndsCancels},
		{"a_cancel_ends_the_statement_and_nothing_else", aCancelEndsTheStatementAndNothingElse},
		{"a_busy_pool_answers_everybody", aBusyPoolAnswersEverybody},
		{"database_sql_works", databaseSqlWorks},
		{"a_wrong_password_is_28P01", aWrongPasswordIs28P01},
	}
	failures := 0
	for _, check := range checks {
		for _, mode := range modes {
			failures += attempt(check.name, mode, check.check)
		}
	}
	if failures > 0 {
		os.Exit(1)
	}
}
