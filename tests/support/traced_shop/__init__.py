"""Three small services with OpenTelemetry's own SDK and instrumentation, whose faults are known: shop, stock, catalog.

with otlp_file_collector() as collector, traced_shop(collector.url, Faults(slow_version_ms=120)) as shop:
    httpx.post(f"{shop.url}/checkout")
"""
