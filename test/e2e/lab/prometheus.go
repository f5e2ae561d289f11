// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// controlPlane is the host of the API server. It reaches nodes and pods.
const controlPlane = "cp"

// Where Prometheus, and what it scrapes of ours, listen on the control plane's host.
const (
	prometheusPort = 19090
	observerPort   = 18080
)

// Prometheus is a real one that scrapes what our ServiceMonitors select, with the labels that the Prometheus operator would have it add.
type Prometheus struct {
	cluster  *Cluster
	cmd      *exec.Cmd
	said     bytes.Buffer // what it said; to be read when it has ended
	ended    chan struct{}
	observer *http.Server
	address  string
}

// Alert is one that is pending or fires.
type Alert struct {
	State  string            `json:"state"`
	Labels map[string]string `json:"labels"`
}

// StartPrometheus runs Debian's Prometheus with a file of rules, until it is stopped. It scrapes and evaluates every second. Beside the
// product it scrapes kube_node_info, one series a node, which is served here in the format of kube-state-metrics.
func (c *Cluster) StartPrometheus(ctx context.Context, dir, rules string) (*Prometheus, error) {
	program, err := prometheusProgram(ctx, "prometheus")
	if err != nil {
		return nil, err
	}
	host, err := c.addressOf(ctx, controlPlane)
	if err != nil {
		return nil, err
	}
	config, err := prometheusConfig(dir, rules)
	if err != nil {
		return nil, err
	}
	p := &Prometheus{cluster: c, ended: make(chan struct{}), address: net.JoinHostPort(host, strconv.Itoa(prometheusPort))}
	p.cmd = exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+p.address, "--log.level=warn")
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	var listener net.Listener
	err = c.within(controlPlane, func() error {
		if listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(observerPort))); err != nil {
			return err
		}
		return p.cmd.Start()
	})
	if err != nil {
		if listener != nil {
			listener.Close()
		}
		return nil, fmt.Errorf("starting Prometheus: %w", err)
	}
	p.observer = &http.Server{Handler: c.observer()}
	go p.observer.Serve(listener)
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	return p, nil
}

// Stop ends Prometheus, and returns when it has.
func (p *Prometheus) Stop(context.Context) error {
	err := p.cmd.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil // whoever waited for it has said so
	}
	<-p.ended
	return errors.Join(err, p.observer.Close())
}

// Await asks for the alerts every fifth of a second, until judge finds nothing to complain of.
func (p *Prometheus) Await(ctx context.Context, what string, judge func([]Alert) error) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		alerts, err := p.alerts(ctx)
		if err == nil {
			err = judge(alerts)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w; last: %v", what, context.Cause(ctx), last)
		case <-p.ended:
			return fmt.Errorf("waiting for %s: Prometheus has ended: %s", what, p.said.String())
		case <-tick.C:
		}
	}
}

func (p *Prometheus) alerts(ctx context.Context) ([]Alert, error) {
	var data struct{ Alerts []Alert }
	return data.Alerts, p.get(ctx, "alerts", &data)
}

// Query returns the values of an instant query, as text, by the labels of each series.
func (p *Prometheus) Query(ctx context.Context, expression string) ([]string, error) {
	var data struct {
		Result []struct{ Value [2]any }
	}
	if err := p.get(ctx, "query?query="+url.QueryEscape(expression), &data); err != nil {
		return nil, err
	}
	var values []string
	for _, each := range data.Result {
		values = append(values, fmt.Sprint(each.Value[1]))
	}
	return values, nil
}

// Unhealthy are the rules that have not been evaluated, or could not be.
func (p *Prometheus) Unhealthy(ctx context.Context) (bad []string, total int, err error) {
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := p.get(ctx, "rules", &data); err != nil {
		return nil, 0, err
	}
	for _, group := range data.Groups {
		for _, rule := range group.Rules {
			if total++; rule.Health != "ok" {
				bad = append(bad, strings.TrimSpace(rule.Name+" "+rule.Health+" "+rule.LastError))
			}
		}
	}
	return bad, total, nil
}

// get asks from the client host, for Prometheus is on the LAN of the cluster.
func (p *Prometheus) get(ctx context.Context, path string, into any) error {
	text, err := p.cluster.Get(ctx, "http://"+p.address+"/api/v1/"+path)
	if err != nil {
		return err
	}
	answer := struct {
		Status, Error string
		Data          json.RawMessage
	}{}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return fmt.Errorf("reading Prometheus' answer: %w in %.200q", err, text)
	}
	if answer.Status != "success" {
		return fmt.Errorf("Prometheus says %s", answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// prometheusConfig writes Prometheus' configuration, and returns its name. Debian's cannot ask Kubernetes for targets, so it asks here.
func prometheusConfig(dir, rules string) (string, error) {
	config := fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
  - job_name: kube-state-metrics
    honor_labels: true
    static_configs: [{targets: ["127.0.0.1:%[1]d"]}]
  - job_name: service-monitors
    honor_labels: true
    http_sd_configs: [{url: "http://127.0.0.1:%[1]d/targets", refresh_interval: 1s}]
`, observerPort)
	name := filepath.Join(dir, "prometheus.yaml")
	return name, errors.Join(os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(rules), 0o644), os.WriteFile(name, []byte(config), 0o644))
}

// observer tells Prometheus what it could learn from Kubernetes.
func (c *Cluster) observer() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", c.nodeInfo)
	mux.HandleFunc("/targets", c.targets)
	return mux
}

// nodeInfo answers as kube-state-metrics does, as far as the rules ask for it.
func (c *Cluster) nodeInfo(w http.ResponseWriter, r *http.Request) {
	nodes, err := c.API.CoreV1().Nodes().List(r.Context(), metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprint(w, "# HELP kube_node_info Information about a cluster node.\n# TYPE kube_node_info gauge\n")
	for _, node := range nodes.Items {
		fmt.Fprintf(w, "kube_node_info{node=%q} 1\n", node.Name)
	}
}

// targets answers with the endpoints that our ServiceMonitors select, labelled as the Prometheus operator has them labelled.
func (c *Cluster) targets(w http.ResponseWriter, r *http.Request) {
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	groups := []group{}
	slices, err := c.API.DiscoveryV1().EndpointSlices(Namespace).List(r.Context(), metav1.ListOptions{LabelSelector: "cloud-provider-l2/metrics in (controller, speaker)"})
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	for _, slice := range slices.Items {
		for _, port := range slice.Ports {
			if port.Name == nil || *port.Name != "metrics" || port.Port == nil || slice.AddressType != discoveryv1.AddressTypeIPv4 {
				continue
			}
			service := slice.Labels[discoveryv1.LabelServiceName]
			for _, endpoint := range slice.Endpoints {
				labels := map[string]string{"job": service, "service": service, "namespace": Namespace}
				if endpoint.TargetRef != nil {
					labels["pod"] = endpoint.TargetRef.Name
				}
				if endpoint.NodeName != nil && service == "metallb-speaker" { // the relabelling of that ServiceMonitor
					labels["node"] = *endpoint.NodeName
				}
				groups = append(groups, group{[]string{net.JoinHostPort(endpoint.Addresses[0], strconv.Itoa(int(*port.Port)))}, labels})
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(groups)
}

// addressOf is a host's IPv4 address on the LAN.
func (c *Cluster) addressOf(ctx context.Context, host string) (string, error) {
	text, err := c.Exec(ctx, host, "ip", "-j", "-4", "address", "show", "dev", lanInterface)
	if err != nil {
		return "", err
	}
	var links []struct {
		Addresses []struct{ Local string } `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(text), &links); err != nil {
		return "", fmt.Errorf("reading the addresses of %s: %w in %q", host, err, text)
	}
	for _, link := range links {
		for _, address := range link.Addresses {
			return address.Local, nil
		}
	}
	return "", fmt.Errorf("%s has no IPv4 address on %s", host, lanInterface)
}

// within does something in the network namespace of a host. What is opened or started there stays there.
func (c *Cluster) within(host string, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock it: the thread ends with the goroutine
		space, err := netns.GetFromName(c.Name + "-" + host)
		if err != nil {
			done <- fmt.Errorf("network namespace of %s: %w", host, err)
			return
		}
		defer space.Close()
		if err := netns.Set(space); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

// Promtool runs Debian's promtool in a folder, and returns what it says.
func Promtool(ctx context.Context, dir string, args ...string) (string, error) {
	program, err := prometheusProgram(ctx, "promtool")
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, program, args...)
	command.Dir = dir
	return output(command)
}

// prometheusProgram finds one of Prometheus' programs, or unpacks Debian's package into the cache, which installs nothing and starts no service.
func prometheusProgram(ctx context.Context, name string) (string, error) {
	if program, err := exec.LookPath(name); err == nil {
		return program, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "cloud-provider-l2", "prometheus")
	program := filepath.Join(dir, "usr", "bin", name)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	script := `apt-get -qq download prometheus || { apt-get -qq update && apt-get -qq download prometheus; }; dpkg-deb -x prometheus_*.deb .; rm prometheus_*.deb`
	command := exec.CommandContext(ctx, "bash", "-ec", script)
	command.Dir = dir
	if text, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("getting Debian's prometheus into %s: %w\n%s", dir, err, text)
	}
	return program, nil
}

// Taint keeps everything off a node that does not tolerate just this, and puts off what is there.
func (c *Cluster) Taint(ctx context.Context, node string) error {
	_, err := c.Kubectl(ctx, "taint", "node", node, taint+"="+":"+string(corev1.TaintEffectNoExecute))
	return err
}

// Untaint undoes Taint.
func (c *Cluster) Untaint(ctx context.Context, node string) error {
	_, err := c.Kubectl(ctx, "taint", "node", node, taint+"-")
	return err
}

const taint = "cloud-provider-l2/e2e"
