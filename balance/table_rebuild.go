package balance

// Tables take milliseconds to build, so they are built without the lock: by Prepare for a new specification, and here
// when an override or advice raises a weight above the one a table was built with.

// tablePlan is the input for building the table of a level.
type tablePlan struct {
	level   *level
	old     *table
	weights []int
}

// rebuildTables replaces tables that do not match the weights in force, until all match.
func (c *Cluster) rebuildTables() {
	for {
		c.mu.Lock()
		plans := c.staleTables()
		c.mu.Unlock()
		if len(plans) == 0 {
			return
		}
		built := make([]*table, len(plans))
		for i, p := range plans {
			built[i] = newTable(p.old.method, p.old.points, p.weights)
		}
		c.mu.Lock()
		for i, p := range plans {
			p.level.table = built[i] // has no effect if the level was replaced meanwhile
		}
		c.mu.Unlock()
	}
}

// staleTables returns plans for the tables that do not match the weights in force.
func (c *Cluster) staleTables() []tablePlan {
	var plans []tablePlan
	for _, l := range c.levels {
		if l.table == nil {
			continue
		}
		p := tablePlan{level: l, old: l.table, weights: make([]int, len(l.slots))}
		fit := true
		for i := range l.slots {
			p.weights[i] = tableWeight(l.slots[i].configured, l.slots[i].weight)
			fit = fit && p.weights[i] == l.table.weights[i]
		}
		if !fit {
			plans = append(plans, p)
		}
	}
	return plans
}
