// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// asking is what an asker is to do: a process of its own, in a host's namespace, that asks for an address as fast as it is
// answered. Another process's scheduler and garbage collector would be measured otherwise.
type asking struct {
	From, Target netip.Addr
	InFlight     int // questions that wait for their answer at a time
	Questions    int
	Every        time.Duration // instead of InFlight: each question is asked once, at its time

	// Flood is sent instead, again and again, until the process is killed: at most so many frames a second.
	Flood     [][]byte
	PerSecond int
}

// asked is what came of it. Latencies are in microseconds, from before the question is sent until the answer has been
// read, of questions asked one at a time. Lost are those that had to be asked again, or that were not answered in a second when they were
// asked only once.
type asked struct {
	P50, P99  float64
	PerSecond float64
	Lost      int
}

// answerTimeout is when a question is asked again.
const answerTimeout = 100 * time.Millisecond

const askerEnv = "CLOUD_PROVIDER_L2_ANNOUNCE_TEST_ASKER"

// measure runs an asker on the host's eth0 until it is done.
func (h *host) measure(t testing.TB, what asking) asked {
	t.Helper()
	order, err := json.Marshal(what)
	must(t, err)
	var answer asked
	h.do(t, func() error {
		self := exec.Command("/proc/self/exe")
		self.Env = append(os.Environ(), askerEnv+"="+string(order), "GOMAXPROCS=1")
		self.Stderr = os.Stderr
		out, err := self.Output()
		if err != nil {
			return err
		}
		return json.Unmarshal(out, &answer)
	})
	return answer
}

// rawCall reads or writes without telling Go's scheduler, which has nothing else to do here.
func rawCall(trap uintptr, fd int, b []byte) (int, unix.Errno) {
	n, _, err := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), err
}

// askerMain is the whole of that process.
func askerMain(order string) error {
	var what asking
	if err := json.Unmarshal([]byte(order), &what); err != nil {
		return err
	}
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	if len(what.Flood) > 0 {
		return flood(eth0.Attrs().Index, what.Flood, what.PerSecond)
	}
	protocol := protocolFor(what.Target)
	request, err := protocol.ask(MAC(eth0.Attrs().HardwareAddr), what.From, what.Target)
	if err != nil {
		return err
	}
	fd, err := answersOnly(eth0, what.Target)
	if err != nil {
		return err
	}
	if what.Every > 0 {
		return askOnce(fd, MAC(eth0.Attrs().HardwareAddr), what)
	}
	buffer := make([]byte, 128)
	latencies := make([]time.Duration, 0, what.Questions)
	answer := asked{}
	began := time.Now()
	sent := began
	for waiting := 0; len(latencies) < what.Questions; {
		if waiting == 0 || what.InFlight > 1 {
			sent = time.Now()
		}
		for ; waiting < what.InFlight; waiting++ {
			if _, err := rawCall(unix.SYS_WRITE, fd, request); err != 0 {
				return fmt.Errorf("asking: %w", err)
			}
		}
		n, err := rawCall(unix.SYS_READ, fd, buffer)
		if err == 0 {
			if _, _, kind, _ := protocol.claim(buffer[:n]); kind != KindReply {
				if time.Since(sent) < answerTimeout {
					continue
				}
				err = unix.EAGAIN
			}
		}
		switch err {
		case 0:
			latencies = append(latencies, time.Since(sent))
			waiting--
		case unix.EAGAIN:
			if answer.Lost += waiting; answer.Lost > what.Questions {
				return errors.New("most questions are not answered")
			}
			waiting = 0
		case unix.EINTR:
		default:
			return fmt.Errorf("waiting for an answer: %w", err)
		}
	}
	answer.PerSecond = float64(what.Questions) / time.Since(began).Seconds()
	return answer.tell(latencies)
}

// tell writes the answer for the process that has asked.
func (a asked) tell(latencies []time.Duration) error {
	if len(latencies) == 0 {
		return errors.New("no question is answered")
	}
	slices.Sort(latencies)
	micros := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	a.P50, a.P99 = micros(latencies[len(latencies)/2]), micros(latencies[len(latencies)*99/100])
	return json.NewEncoder(os.Stdout).Encode(a)
}

// askOnce asks each question in the name of another address, by which its answer is known.
func askOnce(fd int, mac MAC, what asking) error {
	const patience = time.Second // then a host asks again
	protocol := protocolFor(what.Target)
	questions := make([][]byte, what.Questions)
	numbers := map[netip.Addr]int{} // of those that wait for their answer
	from := what.From
	for i := range questions {
		var err error
		if questions[i], err = protocol.ask(mac, from, what.Target); err != nil {
			return err
		}
		numbers[from] = i
		from = from.Next()
	}
	asker := func(answer []byte) netip.Addr {
		if what.Target.Is4() {
			return netip.AddrFrom4([4]byte(answer[arpTarget:]))
		}
		return addressAt(answer, ipv6Destination)
	}
	var latencies []time.Duration
	buffer := make([]byte, 128)
	wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	sent := make([]time.Time, 0, len(questions))
	began := time.Now()
	for end := began.Add(time.Duration(what.Questions)*what.Every + patience); len(numbers) > 0 && time.Now().Before(end); {
		for len(sent) < len(questions) && time.Since(began) >= time.Duration(len(sent))*what.Every {
			sent = append(sent, time.Now())
			if _, err := rawCall(unix.SYS_WRITE, fd, questions[len(sent)-1]); err != 0 {
				return fmt.Errorf("asking: %w", err)
			}
		}
		if ready, err := unix.Poll(wait, 1); err != nil && err != unix.EINTR {
			return fmt.Errorf("waiting for an answer: %w", err)
		} else if ready == 0 {
			continue
		}
		n, err := rawCall(unix.SYS_READ, fd, buffer)
		if err != 0 {
			continue
		}
		if _, _, kind, _ := protocol.claim(buffer[:n]); kind != KindReply {
			continue
		}
		if number, ok := numbers[asker(buffer[:n])]; ok {
			delete(numbers, asker(buffer[:n]))
			latencies = append(latencies, time.Since(sent[number]))
		}
	}
	return asked{Lost: len(numbers), PerSecond: float64(len(sent)) / time.Since(began).Seconds()}.tell(latencies)
}

// flood begins in a host's namespace to send frames from its eth0, and returns what ends it.
func (h *host) flood(t testing.TB, perSecond int, frames ...[]byte) (end func()) {
	t.Helper()
	order, err := json.Marshal(asking{Flood: frames, PerSecond: perSecond})
	must(t, err)
	self := exec.Command("/proc/self/exe")
	self.Env = append(os.Environ(), askerEnv+"="+string(order), "GOMAXPROCS=1")
	self.Stderr = os.Stderr
	h.do(t, self.Start)
	return func() {
		_ = self.Process.Kill()
		_ = self.Wait()
	}
}

func flood(index int, frames [][]byte, perSecond int) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		return err
	}
	began := time.Now()
	for sent := 0; ; sent++ {
		for float64(sent) > time.Since(began).Seconds()*float64(perSecond) {
			_ = unix.Nanosleep(&unix.Timespec{Nsec: int64(time.Millisecond)}, nil)
		}
		if _, err := rawCall(unix.SYS_WRITE, fd, frames[sent%len(frames)]); err != 0 && err != unix.ENOBUFS {
			return err
		}
	}
}

// answersOnly is a blocking packet socket that gets the replies for target.
func answersOnly(link netlink.Link, target netip.Addr) (int, error) {
	proto := protocolFor(target)
	filter, err := bpf.Assemble(proto.claimFilter([]netip.Addr{target}))
	if err != nil {
		return 0, err
	}
	program := make([]unix.SockFilter, len(filter))
	for i, in := range filter {
		program[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}); err != nil {
		return 0, err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: answerTimeout.Microseconds()}); err != nil {
		return 0, err
	}
	etherType := bits.ReverseBytes16(uint16(proto.etherType())) // in the order of the network, on the hosts this runs on
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: etherType, Ifindex: link.Attrs().Index})
}
