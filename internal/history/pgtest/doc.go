// Package pgtest gives a test a PostgreSQL server of its own: a throw-away cluster on a free port of the
// loopback interface, which ends with the test. It is imported by tests only.
package pgtest
