package history

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/rota-dev/rota/job"
)

// child is the main function of the processes that tests start.
func child(role, dsn string) int {
	ctx := context.Background()
	d, err := Open(ctx, dsn, Options{})
	if err != nil {
		fmt.Printf("%s: %v\n", job.CodeOf(err), err)
		return 1
	}
	switch role {
	case "open":
		fmt.Println("open")
		d.Close()
	case "hold":
		fmt.Println("open")
		_, _ = os.Stdin.Read(make([]byte, 1))
		d.Close()
	case "write": // until it is killed
		for i := 0; ; i++ {
			recs := make([]job.ExecutionRecord, 10)
			for k := range recs {
				recs[k] = record(job.Ref("g", name("task", k)), name("r", i*10+k), job.Success, epoch.Add(time.Duration(i)*time.Second))
			}
			if _, err := d.Insert(ctx, recs); err != nil {
				fmt.Println(err)
				return 1
			}
			for _, r := range recs {
				fmt.Println("stored", r.ID)
			}
		}
	}
	return 0
}
