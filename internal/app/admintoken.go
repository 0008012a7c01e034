package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// ensureAdminToken sees to it that there is an administrator's token from the first start on: the one in
// DATA/admin.token, or, in a cluster that has none yet, a new one that is written there.
func (s *Server) ensureAdminToken(ctx context.Context) error {
	name := s.data.join("admin.token")
	b, err := os.ReadFile(name)
	switch {
	case err == nil:
		token := strings.TrimSpace(string(b))
		if len(token) < 32 {
			return job.Errorf(job.CodeInvalid, "%s does not hold a token", name).WithHint("put the token back, or remove the file and a new one is made")
		}
		return master.EnsureToken(ctx, s.store, token, "admin", "admin", time.Now())
	case !errors.Is(err, fs.ErrNotExist):
		return job.Errorf(job.CodeForbidden, "the administrator's token can't be read: %w", err).
			WithHint("it must be a file that the user of this process can read")
	}
	if s.cfg.Role == RoleMaster {
		known, err := s.store.Tokens().Count(ctx)
		if err != nil {
			return err
		}
		if known > 0 {
			return nil // the cluster's first master has it
		}
	}
	token := master.NewToken()
	// The file first: a token that is known and written nowhere would lock everybody out.
	if err := s.data.writeFile("admin.token", []byte(token+"\n")); err != nil {
		return fmt.Errorf("write the administrator's token: %w", err)
	}
	return master.EnsureToken(ctx, s.store, token, "admin", "admin", time.Now())
}
