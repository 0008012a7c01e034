package job

// Kind says how many of the bound nodes run an instant. On the wire of a job it is the
// seed's number; people write its name.
type Kind int

// The kinds.
const (
	KindCommon   Kind = iota // every bound node runs each instant
	KindAlone                // like interval, and no two runs of the task overlap anywhere
	KindInterval             // exactly one node runs each instant
)

var kindNames = [...]KindName{KindCommon: "common", KindAlone: "alone", KindInterval: "interval"}

// KindName is a kind as people write it: common, alone or interval.
type KindName string

// Name is the kind's name, or "" for a number that is none.
func (k Kind) Name() KindName {
	if k < 0 || int(k) >= len(kindNames) {
		return ""
	}
	return kindNames[k]
}

// Kind is the kind of that name. The name of no kind is common; [Task.Valid]
// has refused it before.
func (n KindName) Kind() Kind {
	for k, name := range kindNames {
		if name == n {
			return Kind(k)
		}
	}
	return KindCommon
}

// Claimed tells whether an instant must be claimed before it starts, because one node
// alone may run it.
func (k Kind) Claimed() bool { return k == KindAlone || k == KindInterval }

// RuleMode says how often a job runs.
type RuleMode string

// The modes.
const (
	OnlyOnce RuleMode = "onlyonce" // never again on a node where it succeeded
	ManyOnce RuleMode = "manyonce" // once for each request
	Cycle    RuleMode = "cycle"    // by its timer
)

// Overlap says what becomes of an instant that is due while the job still runs as often as
// its concurrency allows.
type Overlap string

// The ways.
const (
	OverlapSkip    Overlap = "skip"    // it is recorded as skipped
	OverlapQueue   Overlap = "queue"   // it waits for its turn, up to its deadline
	OverlapAllow   Overlap = "allow"   // it starts all the same
	OverlapReplace Overlap = "replace" // the oldest run is killed for it
)

// Overlaps are all of them.
var Overlaps = []Overlap{OverlapSkip, OverlapQueue, OverlapAllow, OverlapReplace}

// Catchup says what becomes of instants that were due while nobody could fire them.
type Catchup string

// The ways.
const (
	CatchupNone Catchup = "none" // they are recorded as missed
	CatchupOne  Catchup = "one"  // the latest runs, the others are recorded as missed
	CatchupAll  Catchup = "all"  // each runs, in order
)

// Catchups are all of them.
var Catchups = []Catchup{CatchupNone, CatchupOne, CatchupAll}

// SuccessBy says what decides whether a run succeeded.
type SuccessBy string

// The ways.
const (
	SuccessExit   SuccessBy = "exit"   // the exit code, or what stands for it
	SuccessResult SuccessBy = "result" // the exec_status of its result
)

// SuccessBys are all of them.
var SuccessBys = []SuccessBy{SuccessExit, SuccessResult}

// OnLost says what becomes of a run that was lost with its node.
type OnLost string

// The ways.
const (
	LostRecord OnLost = "record" // it is recorded as lost
	LostRerun  OnLost = "rerun"  // and runs again, as a new attempt
)

// OnLosts are all of them.
var OnLosts = []OnLost{LostRecord, LostRerun}
