"""One file per DVC stage: opens files, picks a device, shows progress, writes outputs."""
