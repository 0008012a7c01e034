// Package cgroup puts the processes of runs into control groups.
//
// A [Tree] is the agent's own subtree of the machine's groups; each run gets a [Leaf] of it. A process can't leave its
// group by forking, by setsid or by changing its environment, and the kernel ends a group whole: so a leaf is what a run is.
//
// # Where
//
// The second version of control groups is preferred, wherever it is mounted. The subtree is called rota-PID-N and stands, in this
// order of preference, beside the agent's own group where systemd delegated the group above (Delegate=yes with DelegateSubgroup=), in the agent's own
// group, or, for root, at the top. A group that hands controllers on may hold no processes itself: where the agent's own
// group is its alone, the agent moves into a child of it. Where another program uses the controllers through version 1
// (the hybrid layout), limits are set there, and version 2 still keeps and ends the tree.
//
// # Whose
//
// A subtree belongs to the process that holds the lock (flock) on its directory. Others, left by processes that have ended, are removed as
// soon as they are empty: what still runs in one is somebody's run.
//
// # Leaves
//
// Making and removing groups is dear, so those without limits are used again. Limited ones are made for one run.
package cgroup
