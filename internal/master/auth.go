package master

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// NewToken makes a secret of 256 bits.
func NewToken() string { return "rota_" + rand.Text() + rand.Text() }

// TokenHash is what is kept of a token. A token is random and long: it needs no slow hash.
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Principal is who a request comes from.
type Principal struct{ Name, Role string }

// Authenticate says whose token it is. The answer is the same for every token that is not known. The lookup goes
// by the token's hash, which tells an attacker who measures its time nothing of any token.
func (m *Master) Authenticate(_ context.Context, token string) (Principal, error) {
	var p Principal
	found := false
	if !m.view.synced() {
		return p, job.Errorf(job.CodeUnavailable, "the tokens are not read yet").WithHint("try again in a moment")
	}
	m.view.with(func() {
		if t := m.view.tokens[TokenHash(token)]; t != nil {
			p, found = Principal{Name: t.Name, Role: t.Role}, true
		}
	})
	if !found {
		return Principal{}, job.Errorf(job.CodeUnauthorized, "the token is missing or not valid")
	}
	return p, nil
}

// EnsureToken makes a token known to the cluster under a name, if it is not yet.
func EnsureToken(ctx context.Context, s *store.Store, token, name, role string, now time.Time) error {
	hash := TokenHash(token)
	_, err := s.Tokens().Put(ctx, &store.Token{ID: hash[:16], Hash: hash, Name: name, Role: role, CreatedAt: now.UTC()})
	if job.IsConflict(err) {
		return nil
	}
	return err
}
