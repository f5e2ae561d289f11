// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"golang.org/x/net/bpf"
)

// The kernel takes at most 4,096 instructions; acceptValues needs at most 1.75 for each value and there are some around it.
const maxFilterValues = 2048

// acceptValues is a filter that accepts a packet when the value in the accumulator is one of those given, which are
// sorted and unique. It is a search tree, so that the kernel compares a dozen times at most.
func acceptValues(values []uint32) []bpf.Instruction {
	const leaf = 8
	if len(values) <= leaf {
		program := make([]bpf.Instruction, 0, leaf+2)
		for i, value := range values {
			program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipTrue: uint8(len(values) - i)})
		}
		return append(program, bpf.RetConstant{Val: 0}, acceptFrame)
	}
	middle := len(values) / 2
	low, high := acceptValues(values[:middle]), acceptValues(values[middle:])
	program := make([]bpf.Instruction, 0, 2+len(low)+len(high))
	program = append(program,
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: values[middle], SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(low))},
	)
	return append(append(program, low...), high...)
}
