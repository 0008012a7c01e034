// Package runlog keeps the whole output of runs in files in one folder of a node.
//
// # Layout
//
//	DIR/RUN@ATTEMPT/0000000000000000
//	DIR/RUN@ATTEMPT/0000000000200000
//
// Each attempt has a folder, and in it segments, which are named after the offset of their first byte. A segment is a
// series of frames, each with a checksum, stream, time, offset and up to 64 KiB of data. The last frame of a log
// that was closed says that it is the end.
//
// Who writes and who reads are different processes. The writer holds a lock (flock) on the segment that it writes, and takes the
// lock on the next one before it lets the last one go; so a log whose last segment is neither locked nor ended was left by a process
// that died, and is torn. A frame that is half there is one that is being written, or the tear.
//
// # Limits
//
// At the limit per run its oldest segments go. At the limit per node the oldest ended logs go, then the oldest segments of runs that
// are alive; and where that is not enough, output is not kept. Neither that nor a full disk is the run's business: a Write never
// fails. What could not be kept is a jump of the offset, and a note in the log says why as soon as there is room for it.
//
// Nothing is synchronised to the disk: a log survives the death of its writer, and of the machine as far as the kernel got.
package runlog
