// What the programs for pgx share; go_program compiles it with each.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(got, wanted interface{}) {
	if got != wanted {
		panic(fmt.Sprintf("got %.200v, not %.200v", got, wanted))
	}
}

func configuration(mode, options string) *pgx.ConnConfig {
	options += " connect_timeout=20"
	if mode == "prepare" || mode == "describe" {
		options += " statement_cache_mode=" + mode
	}
	config, err := pgx.ParseConfig(options)
	must(err)
	config.PreferSimpleProtocol = mode == "simple"
	if mode == "uncached" {
		config.BuildStatementCache = nil
	}
	return config
}

func connect(ctx context.Context, mode, options string) *pgx.Conn {
	connection, err := pgx.ConnectConfig(ctx, configuration(mode, options))
	must(err)
	return connection
}

func stateOf(err error) string {
	var answer *pgconn.PgError
	switch {
	case err == nil:
		return "no error"
	case errors.As(err, &answer):
		return answer.Code
	default:
		return err.Error()
	}
}
