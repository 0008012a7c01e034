package history

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"slices"

	"github.com/rota-dev/rota/job"
)

// A search reads the records that the rest of its filter selects, newest first, and looks for the text in their output and
// reason. There is no index of words: one that holds any text and any part of a word is several times as large as what it is
// of, and makes storing a record, which happens always, dearer for the sake of a search, which happens seldom. Instead a page
// looks at a bounded part, and says where the next one goes on.
const (
	searchedRecords = 10_000   // how many records a page looks at, where they lie together
	searchScattered = 4        // one that lies apart from the one before it, such as a task's among many, counts as so many
	searchedBytes   = 16 << 20 // how many bytes of texts, beyond which it begins no further chunk
	searchNear      = 20       // apart by more than this in the order of storing, records are not read from the same pages
	searchChunk     = 500      // how many records a statement reads
)

// MaxSearch is how many bytes the text of a search may have.
const MaxSearch = 1024

// search fills a page with the hits among the records of a prefix in a window.
func (d *DB) search(ctx context.Context, p prefix, w window, f job.RecordFilter, page *job.Page) error {
	text := lowered(nil, []byte(f.Search))
	limit := w.limit
	w.limit = searchChunk
	var found []place
	for records, read := 0, 0; ; {
		keys, err := d.walk(ctx, d.read, p, w)
		if err != nil {
			return err
		}
		hits, n, err := d.hits(ctx, keys, text)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if hits[k.seq] && len(found) < limit {
				found = append(found, k)
			}
		}
		for i, k := range keys {
			if i > 0 && keys[i-1].seq-k.seq > searchNear {
				records += searchScattered - 1
			}
		}
		records, read = records+len(keys), read+n
		if len(found) == limit {
			page.Next = found[limit-1].cursor()
			break
		}
		if len(keys) < searchChunk {
			break
		}
		w.from = keys[len(keys)-1]
		if records >= searchedRecords || read >= searchedBytes {
			page.Next, page.Searched = w.from.cursor(), fromMicros(w.from.ended)
			break
		}
	}
	recs, err := d.fetch(ctx, found, f.WithOutput)
	page.Records = recs
	return err
}

// hits tells which of the records have the text, and how many bytes were read.
func (d *DB) hits(ctx context.Context, keys []place, text []byte) (hits map[int64]bool, read int, err error) {
	if len(keys) == 0 {
		return nil, 0, nil
	}
	seqs := make([]int64, len(keys))
	for i, k := range keys {
		seqs[i] = k.seq
	}
	slices.Sort(seqs)
	hits = make(map[int64]bool)
	var scratch []byte
	q := in(d.query("SELECT r.seq, r.detail, b.output FROM records r"+bodyJoin+" WHERE r.seq"), seqs)
	err = q.each(ctx, d.read, func(rows *sql.Rows) error {
		var seq int64
		var det, output sql.RawBytes
		if err := rows.Scan(&seq, &det, &output); err != nil {
			return err
		}
		read += len(det) + len(output)
		scratch = lowered(scratch, output)
		hits[seq] = bytes.Contains(scratch, text)
		if !hits[seq] && bytes.Contains(det, []byte(`"reason"`)) {
			var d struct {
				Reason string `json:"reason"`
			}
			if err := json.Unmarshal(det, &d); err != nil {
				return err
			}
			scratch = lowered(scratch, []byte(d.Reason))
			hits[seq] = bytes.Contains(scratch, text)
		}
		return nil
	})
	return hits, read, err
}

// lowered is a text with its ASCII letters in lower case, in the place of buf. Other bytes, whatever they are, stay.
func lowered(buf, text []byte) []byte {
	buf = append(buf[:0], text...)
	for i, c := range buf {
		if 'A' <= c && c <= 'Z' {
			buf[i] = c + 'a' - 'A'
		}
	}
	return buf
}
