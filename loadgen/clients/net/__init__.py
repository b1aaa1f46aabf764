"""From a URL to a connected socket: settings, DNS, proxies, TLS, and the target guard."""
