"""From a URL to a connected socket: settings, DNS, proxies, TLS, the allow-list."""
