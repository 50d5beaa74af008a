// Package privileges drops root privileges: it looks up the user to run as, changes the user and groups of the process and
// limits its capabilities. Every change is made on all threads, because Linux keeps credentials per thread.
package privileges
