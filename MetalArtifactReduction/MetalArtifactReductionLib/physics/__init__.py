"""CT physics: attenuation, materials, spectra, acquisition and the simulation of artifacts."""
