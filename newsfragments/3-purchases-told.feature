The terminal tells each top-up that is bought, with service, offer and latency, between the cap that was crossed and the line that is proven.
