// Package api serves Rota over HTTP: the routes below /api/v1 with their OpenAPI document, health, readiness and metrics.
//
// It decides nothing. Each route reads its input, asks the [Master], and writes the answer in the types of package
// client. Everything below /api and /metrics needs a bearer token; what each route needs beyond it stands beside the
// route as a role. Errors are problem documents; package client holds the table between their codes and HTTP's.
//
// Requests pass, from the outside in: request id, access log, panics, cross-origin protection, credentials, then the
// route's own checks: role, names in the path, unknown query parameters.
package api
