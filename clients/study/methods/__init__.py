"""The study of aggregation methods: every method, drift, rate and seed on the same books."""
