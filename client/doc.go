// Package client speaks to a Rota master over its HTTP API, with the API's own types.
//
// Every method takes a context first. What the server refuses comes back as the server's own *job.Error, with its
// code, hint and fields; a server that can't be reached is one too, of job.CodeUnavailable, which says the address
// and how to mend it.
package client
