package conf

import "strings"

// hooks compares event hooks.
func (w *differ) hooks(running, wanted *Config) {
	diffNamed(w, PlanStep{Object: ObjectEvent}, running.Hooks, wanted.Hooks, func(h *Hook) string { return h.Name }, hookNote,
		func(a, b *Hook) []Detail { return changes(w.schema.event, hookDraft{Hook: *a}, hookDraft{Hook: *b}) })
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
