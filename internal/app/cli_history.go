package app

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/internal/history"
)

func (c *cli) historyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "history", Short: "Move history to another database",
		Example: "  rota history copy --to postgres://rota@db.example.org/rota",
	}
	cmd.AddCommand(c.historyCopy())
	return kinds(cmd)
}

func (c *cli) historyCopy() *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use: "copy --to postgres://…", Short: "Copy history from SQLite to PostgreSQL, with its statistics",
		Long: "Copy history from SQLite to PostgreSQL, with its statistics, counters and numbers. Run it while the master works, which takes\n" +
			"the time; then stop the master, run it again, which takes moments, and start the master with the new --db. It may be\n" +
			"broken off and run again at any time. Nodes go on meanwhile: their records wait for the master.",
		Example: "  rota history copy --from sqlite:/var/lib/rota/history.db --to postgres://rota@db.example.org/rota",
		Args:    arguments(0, 0, ""),
	}
	cmd.Flags().StringVar(&from, "from", "", "the old history, sqlite:FILE (default: in the data folder)")
	cmd.Flags().StringVar(&to, "to", "", "the new one, postgres://USER:PASSWORD@HOST/DATABASE; the password may be in PGPASSWORD")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if to == "" {
			return usagef("usage: "+cmd.UseLine(), "%s needs --to", cmd.CommandPath())
		}
		if from == "" {
			from = "sqlite:" + filepath.Join(c.dataDir(), "history.db")
			if _, err := os.Stat(filepath.Join(c.dataDir(), "history.db")); err != nil {
				return usagef("name it with --from, or the data folder with --data", "there is no history in %s", c.dataDir())
			}
		}
		told := int64(0)
		copied, err := history.Copy(cmd.Context(), from, to, history.CopyOptions{Progress: func(table string, compared, written int64) {
			if table == "records" && compared >= told+100_000 {
				told = compared
				c.sayf("%d records compared, %d of them written", compared, written)
			}
		}})
		if err != nil {
			return err
		}
		if !copied.Finished {
			fmt.Fprintf(c.Out, "copied %d records so far; a master still writes to the old history\n", copied.Records)
			c.sayf("stop it, and run this again to finish")
			return nil
		}
		fmt.Fprintf(c.Out, "history copied: %d records, compared to the last row\n", copied.Records)
		c.sayf("start masters with --db %s", history.Redact(to))
		return nil
	}
	return cmd
}
