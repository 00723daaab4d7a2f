// Kernels that use what CUDA code uses, each with an exact result: every case returns a digest of what it computed.
// Built for several architectures into shared libraries whose GPU code is then pruned (preparing.py).

#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <iterator>
#include <vector>

namespace {

constexpr int N = 1 << 14, BLOCK = 256;

__constant__ float weights[64];
__device__ int counter;

#ifdef LINKED
}  // namespace
extern __device__ float from_elsewhere(float value);  // linked.cu
namespace {
#else
__device__ float from_elsewhere(float value) { return value * 3.0f + 1.0f; }
#endif

__device__ int place() { return blockIdx.x * blockDim.x + threadIdx.x; }

__global__ void architecture(int *out) {  // tells which of the library's code was chosen
#ifdef __CUDA_ARCH__
    if (place() < N) out[place()] = __CUDA_ARCH__;
#endif
}

template <typename T, int STEPS>
__global__ void iterate(T *out) {
    int at = place();
    if (at >= N) return;
    T value = T(float(at % 97) / 97.0f);
#pragma unroll
    for (int step = 0; step < STEPS; ++step) value = value * T(0.75f) + T(float(step) / STEPS);
    out[at] = value;
}

__global__ void functions(double *out) {
    int at = place();
    if (at < N) out[at] = sin(at * 0.001) * exp(-at * 0.0001) + sqrt(at + 1.0) + tgamma(1.0 + (at % 9)) + erf(at * 1e-4);
}

__global__ void reduce(unsigned *out) {
    __shared__ unsigned partial[BLOCK / 32];
    unsigned value = place() * 2654435761u;
    for (int step = 16; step; step /= 2) value += __shfl_down_sync(~0u, value, step);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < BLOCK / 32; ++warp) value += partial[warp];
        out[blockIdx.x] = value;
    }
}

__global__ void transpose(float *out) {
    extern __shared__ float tile[];
    tile[threadIdx.x] = float(place());
    __syncthreads();
    out[blockIdx.x * blockDim.x + threadIdx.x] = tile[(threadIdx.x % 16) * 16 + threadIdx.x / 16];
}

__global__ void histogram(unsigned *out) {
    atomicAdd(&out[(place() * 2654435761u) >> 24], 1u);
    atomicAdd(&counter, 1);
    __threadfence();
}

__global__ void tell_counter(int *out) { out[0] = counter; }

__global__ void weigh(float *out) {
    if (place() < N) out[place()] = weights[place() % 64] * float(place() % 13);
}

__global__ void vote(unsigned *out) {
    unsigned odd = __ballot_sync(~0u, place() * 40503 % 7 < 3);
    out[place()] = odd + __popc(odd);
}

typedef float (*Function)(float);
__device__ float twice(float value) { return 2 * value; }
__device__ float square(float value) { return value * value; }
__device__ Function table[] = {twice, square, from_elsewhere};

__global__ void dispatch(float *out) {
    int at = place();
    if (at < N) out[at] = table[at % 3](at % 101);
}

__global__ void elsewhere(float *out) {
    if (place() < N) out[place()] = from_elsewhere(place() % 31);
}

__global__ void whole_grid(unsigned *out) {
    namespace cg = cooperative_groups;
    auto grid = cg::this_grid();
    out[grid.thread_rank()] = unsigned(grid.thread_rank()) * 7u;
    grid.sync();
    unsigned next = out[(grid.thread_rank() + 1) % grid.size()];
    grid.sync();
    out[grid.thread_rank()] = next;
}

__global__ void fetch(float *out, cudaTextureObject_t texture) {
    if (place() < N) out[place()] = tex1Dfetch<float>(texture, N - 1 - place());
}

using Bytes = std::vector<unsigned char>;

#define TRY(call)                                   \
    do {                                            \
        cudaError_t error = (call);                 \
        if (error != cudaSuccess) return error;     \
    } while (0)

// Let `launch` fill `count` values on the GPU, zero before, and bring them back.
template <typename T, typename Launch>
cudaError_t collect(Bytes &out, int count, Launch launch) {
    T *values = nullptr;
    out.resize(count * sizeof(T));
    TRY(cudaMalloc(&values, out.size()));
    cudaError_t error = cudaMemset(values, 0, out.size());
    if (error == cudaSuccess) error = launch(values);
    if (error == cudaSuccess) error = cudaGetLastError();
    if (error == cudaSuccess) error = cudaDeviceSynchronize();
    if (error == cudaSuccess) error = cudaMemcpy(out.data(), values, out.size(), cudaMemcpyDeviceToHost);
    cudaFree(values);
    cudaGetLastError();  // the error is told; the next case begins without it
    return error;
}

template <typename T>
cudaError_t plain(Bytes &out, void (*kernel)(T *), int count = N, int shared = 0) {
    return collect<T>(out, count, [=](T *values) {
        kernel<<<N / BLOCK, BLOCK, shared>>>(values);
        return cudaSuccess;
    });
}

template <typename T, int STEPS>
cudaError_t iterated(Bytes &out) {
    return plain<T>(out, iterate<T, STEPS>);
}

cudaError_t architectures(Bytes &out) { return plain<int>(out, architecture); }
cudaError_t doubles(Bytes &out) { return plain<double>(out, functions); }
cudaError_t reduced(Bytes &out) { return plain<unsigned>(out, reduce, N / BLOCK); }
cudaError_t transposed(Bytes &out) { return plain<float>(out, transpose, N, BLOCK * sizeof(float)); }
cudaError_t votes(Bytes &out) { return plain<unsigned>(out, vote); }
cudaError_t dispatched(Bytes &out) { return plain<float>(out, dispatch); }
cudaError_t linked(Bytes &out) { return plain<float>(out, elsewhere); }

cudaError_t counted(Bytes &out) {
    int zero = 0;
    TRY(cudaMemcpyToSymbol(counter, &zero, sizeof zero));
    TRY(plain<unsigned>(out, histogram, 256));
    Bytes total;
    TRY(collect<int>(total, 1, [](int *value) {
        tell_counter<<<1, 1>>>(value);
        return cudaSuccess;
    }));
    out.insert(out.end(), total.begin(), total.end());
    return cudaSuccess;
}

cudaError_t weighed(Bytes &out) {
    float host[64];
    for (int at = 0; at < 64; ++at) host[at] = 0.5f * at - 7;
    TRY(cudaMemcpyToSymbol(weights, host, sizeof host));
    return plain<float>(out, weigh);
}

cudaError_t cooperated(Bytes &out) {
    constexpr int blocks = 8;
    return collect<unsigned>(out, blocks * BLOCK, [](unsigned *values) {
        void *arguments[] = {&values};
        return cudaLaunchCooperativeKernel((void *)whole_grid, dim3(blocks), dim3(BLOCK), arguments, 0, nullptr);
    });
}

cudaError_t graphed(Bytes &out) {
    return collect<float>(out, N, [](float *values) {
        cudaStream_t stream;
        cudaGraph_t graph;
        cudaGraphExec_t ready;
        TRY(cudaStreamCreate(&stream));
        TRY(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        iterate<float, 17><<<N / BLOCK, BLOCK, 0, stream>>>(values);
        weigh<<<N / BLOCK / 2, BLOCK, 0, stream>>>(values);
        TRY(cudaStreamEndCapture(stream, &graph));
        TRY(cudaGraphInstantiate(&ready, graph, 0));
        for (int time = 0; time < 3; ++time) TRY(cudaGraphLaunch(ready, stream));
        TRY(cudaStreamSynchronize(stream));
        TRY(cudaGraphExecDestroy(ready));
        TRY(cudaGraphDestroy(graph));
        return cudaStreamDestroy(stream);
    });
}

cudaError_t fetched(Bytes &out) {
    float *source = nullptr;
    TRY(cudaMalloc(&source, N * sizeof(float)));
    iterate<float, 5><<<N / BLOCK, BLOCK>>>(source);
    cudaResourceDesc resource = {};
    resource.resType = cudaResourceTypeLinear;
    resource.res.linear.devPtr = source;
    resource.res.linear.desc = cudaCreateChannelDesc<float>();
    resource.res.linear.sizeInBytes = N * sizeof(float);
    cudaTextureDesc description = {};
    cudaTextureObject_t texture = 0;
    TRY(cudaGetLastError());
    TRY(cudaCreateTextureObject(&texture, &resource, &description, nullptr));
    cudaError_t error = collect<float>(out, N, [=](float *values) {
        fetch<<<N / BLOCK, BLOCK>>>(values, texture);
        return cudaSuccess;
    });
    cudaDestroyTextureObject(texture);
    cudaFree(source);
    return error;
}

cudaError_t attributes(Bytes &out) {
    cudaFuncAttributes told;
    TRY(cudaFuncGetAttributes(&told, functions));
    int facts[] = {told.binaryVersion, told.numRegs, int(told.sharedSizeBytes), told.maxThreadsPerBlock};
    out.assign((unsigned char *)facts, (unsigned char *)(facts + 4));
    return cudaSuccess;
}

struct Case {
    const char *name;
    cudaError_t (*run)(Bytes &);
};

const Case cases[] = {
    {"architecture", architectures}, {"attributes", attributes},
    {"float, 8 steps", iterated<float, 8>}, {"float, 64 steps", iterated<float, 64>}, {"float, 512 steps", iterated<float, 512>},
    {"double, 64 steps", iterated<double, 64>}, {"double, 512 steps", iterated<double, 512>},
    {"half, 64 steps", iterated<__half, 64>}, {"half, 512 steps", iterated<__half, 512>},
    {"bfloat16, 64 steps", iterated<__nv_bfloat16, 64>}, {"bfloat16, 512 steps", iterated<__nv_bfloat16, 512>},
    {"mathematical functions", doubles}, {"shuffles and shared memory", reduced}, {"dynamic shared memory", transposed},
    {"atomics and a global variable", counted}, {"constant memory", weighed}, {"votes", votes}, {"table of functions", dispatched},
    {"function of another file", linked}, {"cooperative launch", cooperated}, {"graph", graphed}, {"texture", fetched},
};

}  // namespace

// The interface that kernels.py calls through ctypes.

extern "C" int case_count() { return int(std::size(cases)); }

extern "C" const char *case_name(int number) { return cases[number].name; }

// Run a case; give the FNV-1a digest of its result, and CUDA's error code.
extern "C" int case_run(int number, unsigned long long *digest) {
    Bytes out;
    cudaError_t error = cases[number].run(out);
    *digest = 14695981039346656037ull;
    for (unsigned char byte : out) *digest = (*digest ^ byte) * 1099511628211ull;
    cudaGetLastError();
    return int(error);
}

extern "C" const char *error_text(int error) { return cudaGetErrorString(cudaError_t(error)); }
