// The other half of a library whose device code is linked (nvcc -rdc=true): its containers lie in __nv_relfatbin, too.

__device__ float from_elsewhere(float value) { return value * 3.0f + 1.0f; }
