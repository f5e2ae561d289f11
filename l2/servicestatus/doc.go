// SPDX-License-Identifier: Apache-2.0

// Package servicestatus keeps the ServiceL2Status objects of a node: for each Service that the node answers for, which of its
// addresses, and on which interfaces. People and tools read them; nothing is decided by them.
//
// It promises that what the objects say becomes what is so, whatever happens to them or to the speaker in between; that nothing that is right
// already is written again; and that it is never in the way: its callers do not wait, changes that follow on each other are written once, and it has
// a client, and so a budget, of its own.
//
// Writer is for a speaker (writer.go); wanted.go says what should be there, object.go what an object looks like. Objects of nodes
// whose speaker is gone are removed by another, the first by name of those that have a session (sweep.go).
package servicestatus
