package engine

// Left says what the state still holds, where it holds anything.
func (s *State) Left() map[string]int {
	left := map[string]int{
		"tasks": len(s.tasks), "nodes": len(s.nodes), "labels": len(s.labelled), "hashes": len(s.byHash), "dispatches": len(s.dispatches),
		"waiting": len(s.waiting), "backfills": len(s.backfills), "naming": len(s.naming), "dirty tasks": len(s.dirtyTasks), "queue": len(s.queue), "slow": len(s.slow), "limited": len(s.limited), "load": len(s.load), "promised": len(s.promised), "unreadable": len(s.unreadable),
		"dirty nodes": len(s.dirtyNodes), "roused": len(s.roused), "wakes": len(s.wakes),
	}
	for what, n := range left {
		if n == 0 {
			delete(left, what)
		}
	}
	return left
}
