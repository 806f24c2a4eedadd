"""Ray's import path for programs that talk to the autoscaler: ``linckia.autoscaler.sdk``. The service is `scaling`."""
