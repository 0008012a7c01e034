package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// The roles, each of which may what those before it may.
const (
	RoleViewer   = "viewer"   // read
	RoleOperator = "operator" // run, kill, pause, cordon
	RoleEditor   = "editor"   // write tasks and configuration
	RoleAdmin    = "admin"    // everything
)

// allowed tells whether a role includes another. An unknown role includes none.
func allowed(role, needed string) bool {
	roles := []string{RoleViewer, RoleOperator, RoleEditor, RoleAdmin}
	have := slices.Index(roles, role)
	return have >= 0 && have >= slices.Index(roles, needed)
}

// Principal is who asks: the name under which it stands in records and logs, and the role.
type Principal = master.Principal

// Authenticator tells whose a token is. An error of [job.CodeUnavailable] says that it can't tell now; any other one, that
// the token is nobody's.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (Principal, error)
}

// OneToken is an authenticator that knows one token. An empty one opens nothing.
func OneToken(token string, p Principal) Authenticator {
	return oneToken{hash: sha256.Sum256([]byte(token)), empty: token == "", principal: p}
}

type oneToken struct {
	hash      [sha256.Size]byte // so that the comparison takes the same time for tokens of every length
	empty     bool
	principal Principal
}

func (t oneToken) Authenticate(_ context.Context, token string) (Principal, error) {
	got := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(got[:], t.hash[:]) != 1 || t.empty {
		return Principal{}, job.Errorf(job.CodeUnauthorized, "unknown token")
	}
	return t.principal, nil
}

// needsToken tells whether a path is open only to those who are known.
func needsToken(path string) bool {
	return path == "/metrics" || path == "/api" || strings.HasPrefix(path, "/api/")
}

// authenticate lets nobody without a token of his own pass. Who has none and who has a wrong one get the same answer.
func (s *server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !needsToken(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		p, err := s.tokens.Authenticate(r.Context(), bearer(r))
		if job.CodeOf(err) == job.CodeUnavailable {
			s.problem(w, r, err)
			return
		}
		if err != nil || bearer(r) == "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="rota"`)
			s.problem(w, r, job.Errorf(job.CodeUnauthorized, "this needs a valid token").
				WithHint("send the header Authorization: Bearer TOKEN; the first one is in DATA/admin.token of the server"))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), principalKey{}, p)))
	})
}

// bearer is the token of a request, or "".
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

type principalKey struct{}

// principal is who asks; nobody, with no role, where no token was needed.
func principal(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
