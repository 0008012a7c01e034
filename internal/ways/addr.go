package ways

import (
	"net/netip"
	"slices"

	"github.com/rota-dev/rota/job"
)

// special are the networks that are not the public internet (IANA's registries of special purposes): a request there would
// use the node's place in its own network. Of IPv6 everything outside 2000::/3 is refused besides.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	// Tunnels that lead to any address of IPv4, and what is reserved.
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)

var global6 = netip.MustParsePrefix("2000::/3")

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// Reachable tells whether an address is public, or in a network that is allowed.
func Reachable(a netip.Addr, allowed []netip.Prefix) bool {
	a = a.Unmap().WithZone("") // no prefix contains an address with a zone
	has := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.ContainsFunc(allowed, has) || a.IsValid() && !slices.ContainsFunc(special, has) && (!a.Is6() || global6.Contains(a))
}

// checkAddr refuses an address that is neither public nor allowed.
func checkAddr(a netip.Addr, allowed []netip.Prefix) error {
	if a = a.Unmap().WithZone(""); !Reachable(a, allowed) {
		return job.Errorf(job.CodeForbidden, "address %s is not public, and this node does not allow requests to it", a).
			WithHint("the node's owner may allow its network: --http-allow %s", netip.PrefixFrom(a, a.BitLen()))
	}
	return nil
}

// ParseNetworks reads networks such as 10.1.0.0/16, or single addresses.
func ParseNetworks(words []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, w := range words {
		p, err := netip.ParsePrefix(w)
		if err != nil {
			a, bad := netip.ParseAddr(w)
			if bad != nil {
				return nil, job.Errorf(job.CodeInvalid, "%q is no network", w).WithHint("write it such as 10.1.0.0/16 or fd00::/8")
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Addr().Is4In6() { // addresses are compared in the form of IPv4
			if p.Bits() < 96 {
				return nil, job.Errorf(job.CodeInvalid, "network %q is neither of IPv4 nor of IPv6", w).WithHint("write it such as 10.1.0.0/16")
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		list = append(list, p.Masked())
	}
	return list, nil
}
