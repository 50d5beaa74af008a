package conf

import "strings"

// hooks compares event hooks.
func (w *differ) hooks(running, wanted *Config) {
	old := make(map[string]*Hook)
	for i := range running.Hooks {
		old[running.Hooks[i].Name] = &running.Hooks[i]
	}
	for i := range wanted.Hooks {
		b := &wanted.Hooks[i]
		a := old[b.Name]
		delete(old, b.Name)
		if a == nil {
			w.steps = append(w.steps, PlanStep{Action: Add, Object: ObjectEvent, Name: b.Name, Note: hookNote(b)})
			continue
		}
		w.add(PlanStep{
			Action: Change, Object: ObjectEvent, Name: b.Name,
			Details: changes(w.schema.event, hookDraft{Hook: *a}, hookDraft{Hook: *b}),
		})
	}
	for i := range running.Hooks {
		if a := &running.Hooks[i]; old[a.Name] != nil {
			w.steps = append(w.steps, PlanStep{Action: Remove, Object: ObjectEvent, Name: a.Name, Note: hookNote(a)})
		}
	}
}

func hookNote(h *Hook) string {
	how := "url"
	if h.Exec != nil {
		how = "exec"
	}
	if len(h.On) == 0 {
		return how + " on all events"
	}
	return how + " on " + strings.Join(h.On, ", ")
}
