// The decoder's fused kernels for CUDA: norms, rotary positions, softmax of causal attention, SwiGLU, GELU,
// cross-entropy, the embedding's gradient, AdamW. Compiled to PTX with the build (.ci/build.rs), called from mod.rs.
// Deliberately not here: matrix products, which are cuBLAS's. Without any header, so that a C++ compiler can run them
// one thread a thread as well (.ci/kernels). Numbers are f32 or bf16 in memory and f32 in registers; sums are taken in
// an order that depends on shapes alone, so that a run repeats itself.

struct half16 { // bf16: the upper half of an f32
  unsigned short bits;
};

__device__ inline float wide(float x) { return x; }
__device__ inline float wide(half16 x) { return __uint_as_float((unsigned)x.bits << 16); }

template <class T> __device__ inline T narrow(float x);
template <> __device__ inline float narrow<float>(float x) { return x; }
template <> __device__ inline half16 narrow<half16>(float x) {
  unsigned u = __float_as_uint(x);
  half16 h;
  // To the nearest, ties to even; not a number stays one.
  h.bits = (u & 0x7fffffffu) > 0x7f800000u ? 0x7fff : (unsigned short)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  return h;
}

// Sum and maximum over the block, known to all its threads. A block is whole warps.
__device__ inline float block_sum(float x, float *room) {
  for (int o = 16; o > 0; o /= 2) x += __shfl_xor_sync(0xffffffffu, x, o);
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
  __syncthreads();
  x = threadIdx.x % 32 < blockDim.x / 32 ? room[threadIdx.x % 32] : 0.0f;
  for (int o = 16; o > 0; o /= 2) x += __shfl_xor_sync(0xffffffffu, x, o);
  __syncthreads();
  return x;
}
// Not a number where one is: softmax has to hand it on.
__device__ inline float larger(float a, float b) { return a > b || a != a ? a : b; }
__device__ inline float block_max(float x, float *room) {
  for (int o = 16; o > 0; o /= 2) x = larger(x, __shfl_xor_sync(0xffffffffu, x, o));
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
  __syncthreads();
  x = threadIdx.x % 32 < blockDim.x / 32 ? room[threadIdx.x % 32] : -INFINITY;
  for (int o = 16; o > 0; o /= 2) x = larger(x, __shfl_xor_sync(0xffffffffu, x, o));
  __syncthreads();
  return x;
}

// y = (x - mean) * r * w + b with r = 1 / sqrt(mean((x - mean)^2) + eps); RMSNorm has neither mean nor b. A row a
// block; keeps mean and r of each row in `stats` (2, rows) for the backward pass.
template <class T, bool CENTRED>
__device__ void norm_forward(const T *x, const float *w, const float *b, T *out, float *stats, size_t n, float eps) {
  __shared__ float room[32];
  const T *row = x + blockIdx.x * n;
  float mean = 0.0f;
  if (CENTRED) {
    float sum = 0.0f;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) sum += wide(row[i]);
    mean = block_sum(sum, room) / n;
  }
  float squares = 0.0f;
  for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
    float d = wide(row[i]) - mean;
    squares += d * d;
  }
  float r = 1.0f / sqrtf(block_sum(squares, room) / n + eps);
  for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
    float y = (wide(row[i]) - mean) * r * w[i];
    out[blockIdx.x * n + i] = narrow<T>(CENTRED ? y + b[i] : y);
  }
  if (threadIdx.x == 0) {
    stats[blockIdx.x] = mean;
    stats[gridDim.x + blockIdx.x] = r;
  }
}

// With h = grad * w and y = (x - mean) * r: dx = r * (h - mean(h) - y * mean(h * y)), without mean(h) for RMSNorm.
template <class T, bool CENTRED>
__device__ void norm_backward(const T *x, const float *w, const T *grad, const float *stats, T *dx, size_t n) {
  __shared__ float room[32];
  const T *row = x + blockIdx.x * n, *g = grad + blockIdx.x * n;
  float mean = stats[blockIdx.x], r = stats[gridDim.x + blockIdx.x];
  float level = 0.0f, slope = 0.0f;
  for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
    float h = wide(g[i]) * w[i];
    level += h;
    slope += h * (wide(row[i]) - mean) * r;
  }
  level = CENTRED ? block_sum(level, room) / n : 0.0f;
  slope = block_sum(slope, room) / n;
  for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
    float y = (wide(row[i]) - mean) * r;
    dx[blockIdx.x * n + i] = narrow<T>(r * (wide(g[i]) * w[i] - level - y * slope));
  }
}

// Sums of grad * y and of grad over `height` rows, a column a thread: (chunks, n) each; the chunks are summed later.
template <class T>
__device__ void norm_weights(const T *x, const T *grad, const float *stats, float *dw, float *db, size_t rows, size_t n,
                             size_t height) {
  size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  size_t first = blockIdx.y * height, last = first + height < rows ? first + height : rows;
  float w = 0.0f, b = 0.0f;
  for (size_t row = first; row < last; row++) {
    float g = wide(grad[row * n + i]);
    w += g * (wide(x[row * n + i]) - stats[row]) * stats[rows + row];
    b += g;
  }
  dw[blockIdx.y * n + i] = w;
  db[blockIdx.y * n + i] = b;
}

__device__ inline size_t place() { return (size_t)blockIdx.x * blockDim.x + threadIdx.x; }

template <class T> __device__ void swiglu_forward(const T *gate, const T *up, T *out, size_t count) {
  size_t i = place();
  if (i >= count) return;
  float g = wide(gate[i]);
  out[i] = narrow<T>(g / (1.0f + expf(-g)) * wide(up[i]));
}
template <class T>
__device__ void swiglu_backward(const T *gate, const T *up, const T *grad, T *d_gate, T *d_up, size_t count) {
  size_t i = place();
  if (i >= count) return;
  float g = wide(gate[i]), u = wide(up[i]), d = wide(grad[i]);
  float s = 1.0f / (1.0f + expf(-g));
  d_gate[i] = narrow<T>(d * u * s * (1.0f + g * (1.0f - s)));
  d_up[i] = narrow<T>(d * g * s);
}

// GELU by the tanh approximation: x / 2 * (1 + tanh(a)), a = sqrt(2 / pi) * (x + 0.044715 x^3).
template <class T> __device__ void gelu_forward(const T *x, T *out, size_t count) {
  size_t i = place();
  if (i >= count) return;
  float v = wide(x[i]);
  out[i] = narrow<T>(0.5f * v * (1.0f + tanhf(0.7978845608f * (v + 0.044715f * v * v * v))));
}
template <class T> __device__ void gelu_backward(const T *x, const T *grad, T *dx, size_t count) {
  size_t i = place();
  if (i >= count) return;
  float v = wide(x[i]);
  float t = tanhf(0.7978845608f * (v + 0.044715f * v * v * v));
  float inner = 0.7978845608f * (1.0f + 3.0f * 0.044715f * v * v);
  dx[i] = narrow<T>(wide(grad[i]) * 0.5f * (1.0f + t + v * (1.0f - t * t) * inner));
}

// The residual stream, which is f32, and what is added to it.
template <class T> __device__ void add_to_wide(const float *x, const T *y, float *out, size_t count) {
  size_t i = place();
  if (i < count) out[i] = x[i] + wide(y[i]);
}

// Rotates pairs (j, j + half) of each head by the token's angle; sign -1 rotates back. x (batch, time, heads * 2 half).
template <class T>
__device__ void rope(const T *x, const float *cosines, const float *sines, T *out, size_t pairs, size_t time, size_t heads,
                     size_t half, float sign) {
  size_t i = place();
  if (i >= pairs) return;
  size_t head = i / half, j = i % half, at = head * 2 * half + j, angle = head / heads % time * half + j;
  float a = wide(x[at]), b = wide(x[at + half]), c = cosines[angle], s = sines[angle] * sign;
  out[at] = narrow<T>(a * c - b * s);
  out[at + half] = narrow<T>(b * c + a * s);
}

// (n, a, b, d) to (n, b, a, d).
template <class T> __device__ void swap_middle(const T *x, T *out, size_t count, size_t a, size_t b, size_t d) {
  size_t i = place();
  if (i >= count) return;
  size_t k = i % d, ia = i / d % a, ib = i / d / a % b, n = i / d / a / b; // of the result
  out[i] = x[((n * a + ia) * b + ib) * d + k];
}

// Causal softmax of scale * scores (rows, keys), a row a block; row r is query r % time, the last query sees all keys.
template <class T> __device__ void softmax_forward(const T *scores, T *out, size_t time, size_t keys, float scale) {
  __shared__ float room[32];
  size_t at = (size_t)blockIdx.x * keys, seen = keys - time + blockIdx.x % time + 1;
  float top = -INFINITY;
  for (size_t i = threadIdx.x; i < seen; i += blockDim.x) top = larger(top, wide(scores[at + i]) * scale);
  top = block_max(top, room);
  float sum = 0.0f;
  for (size_t i = threadIdx.x; i < seen; i += blockDim.x) sum += expf(wide(scores[at + i]) * scale - top);
  float share = 1.0f / block_sum(sum, room);
  for (size_t i = threadIdx.x; i < keys; i += blockDim.x)
    out[at + i] = narrow<T>(i < seen ? expf(wide(scores[at + i]) * scale - top) * share : 0.0f);
}
// ds = scale * p * (dp - sum(p * dp)).
template <class T> __device__ void softmax_backward(const T *p, const T *dp, T *ds, size_t time, size_t keys, float scale) {
  __shared__ float room[32];
  size_t at = (size_t)blockIdx.x * keys, seen = keys - time + blockIdx.x % time + 1;
  float sum = 0.0f;
  for (size_t i = threadIdx.x; i < seen; i += blockDim.x) sum += wide(p[at + i]) * wide(dp[at + i]);
  sum = block_sum(sum, room);
  for (size_t i = threadIdx.x; i < keys; i += blockDim.x)
    ds[at + i] = narrow<T>(i < seen ? scale * wide(p[at + i]) * (wide(dp[at + i]) - sum) : 0.0f);
}

// weight * -log softmax(logits)[target] of each row, and in the logits' place its gradient. A row of weight 0 is not
// looked at, nor is its target.
template <class T>
__device__ void cross_entropy(T *logits, const unsigned *targets, const float *weights, float *losses, size_t vocab) {
  __shared__ float room[32];
  T *row = logits + (size_t)blockIdx.x * vocab;
  float weight = weights[blockIdx.x];
  if (weight == 0.0f) {
    for (size_t i = threadIdx.x; i < vocab; i += blockDim.x) row[i] = narrow<T>(0.0f);
    if (threadIdx.x == 0) losses[blockIdx.x] = 0.0f;
    return;
  }
  size_t target = targets[blockIdx.x];
  float top = -INFINITY;
  for (size_t i = threadIdx.x; i < vocab; i += blockDim.x) top = larger(top, wide(row[i]));
  top = block_max(top, room);
  float sum = 0.0f;
  for (size_t i = threadIdx.x; i < vocab; i += blockDim.x) sum += expf(wide(row[i]) - top);
  sum = block_sum(sum, room);
  // A target beyond the vocabulary gives a loss that is not a number, which the training's loop refuses.
  float chosen = target < vocab ? wide(row[target]) - top : NAN;
  __syncthreads(); // Nobody may write before all have read the target's logit.
  for (size_t i = threadIdx.x; i < vocab; i += blockDim.x) {
    float p = expf(wide(row[i]) - top) / sum;
    row[i] = narrow<T>(weight * (i == target ? p - 1.0f : p));
  }
  if (threadIdx.x == 0) losses[blockIdx.x] = weight * (logf(sum) - chosen);
}

// Each block owns a row of the table and reads all ids, in their order: d_table (vocab, width), grad (tokens, width).
template <class T>
__device__ void embedding_backward(const unsigned *ids, const T *grad, T *d_table, size_t tokens, size_t width) {
  __shared__ unsigned some[256];
  T *out = d_table + (size_t)blockIdx.x * width;
  for (size_t from = 0; from < width; from += blockDim.x) { // a column a thread
    size_t column = from + threadIdx.x;
    float sum = 0.0f;
    for (size_t first = 0; first < tokens; first += 256) {
      size_t count = tokens - first < 256 ? tokens - first : 256;
      int mine = 0;
      for (size_t j = threadIdx.x; j < count; j += blockDim.x) {
        some[j] = ids[first + j];
        mine |= some[j] == blockIdx.x;
      }
      if (!__syncthreads_or(mine)) continue;
      if (column < width)
        for (size_t j = 0; j < count; j++)
          if (some[j] == blockIdx.x) sum += wide(grad[(first + j) * width + column]);
      __syncthreads();
    }
    if (column < width) out[column] = narrow<T>(sum);
  }
}

#define FOR_TYPE(T, SUFFIX)                                                                                              \
  extern "C" __global__ void rms_forward_##SUFFIX(const T *x, const float *w, T *out, float *stats, size_t n, float eps) { \
    norm_forward<T, false>(x, w, w, out, stats, n, eps);                                                                 \
  }                                                                                                                      \
  extern "C" __global__ void layer_forward_##SUFFIX(const T *x, const float *w, const float *b, T *out, float *stats,    \
                                                    size_t n, float eps) {                                               \
    norm_forward<T, true>(x, w, b, out, stats, n, eps);                                                                  \
  }                                                                                                                      \
  extern "C" __global__ void rms_backward_##SUFFIX(const T *x, const float *w, const T *grad, const float *stats, T *dx, \
                                                   size_t n) {                                                           \
    norm_backward<T, false>(x, w, grad, stats, dx, n);                                                                   \
  }                                                                                                                      \
  extern "C" __global__ void layer_backward_##SUFFIX(const T *x, const float *w, const T *grad, const float *stats,      \
                                                     T *dx, size_t n) {                                                  \
    norm_backward<T, true>(x, w, grad, stats, dx, n);                                                                    \
  }                                                                                                                      \
  extern "C" __global__ void norm_weights_##SUFFIX(const T *x, const T *grad, const float *stats, float *dw, float *db,  \
                                                   size_t rows, size_t n, size_t height) {                               \
    norm_weights<T>(x, grad, stats, dw, db, rows, n, height);                                                            \
  }                                                                                                                      \
  extern "C" __global__ void swiglu_forward_##SUFFIX(const T *gate, const T *up, T *out, size_t count) {                 \
    swiglu_forward<T>(gate, up, out, count);                                                                             \
  }                                                                                                                      \
  extern "C" __global__ void swiglu_backward_##SUFFIX(const T *gate, const T *up, const T *grad, T *d_gate, T *d_up,     \
                                                      size_t count) {                                                    \
    swiglu_backward<T>(gate, up, grad, d_gate, d_up, count);                                                             \
  }                                                                                                                      \
  extern "C" __global__ void gelu_forward_##SUFFIX(const T *x, T *out, size_t count) { gelu_forward<T>(x, out, count); }  \
  extern "C" __global__ void gelu_backward_##SUFFIX(const T *x, const T *grad, T *dx, size_t count) {                    \
    gelu_backward<T>(x, grad, dx, count);                                                                                \
  }                                                                                                                      \
  extern "C" __global__ void add_to_wide_##SUFFIX(const float *x, const T *y, float *out, size_t count) {                \
    add_to_wide<T>(x, y, out, count);                                                                                    \
  }                                                                                                                      \
  extern "C" __global__ void rope_##SUFFIX(const T *x, const float *cosines, const float *sines, T *out, size_t pairs,   \
                                           size_t time, size_t heads, size_t half, float sign) {                         \
    rope<T>(x, cosines, sines, out, pairs, time, heads, half, sign);                                                     \
  }                                                                                                                      \
  extern "C" __global__ void swap_middle_##SUFFIX(const T *x, T *out, size_t count, size_t a, size_t b, size_t d) {      \
    swap_middle<T>(x, out, count, a, b, d);                                                                              \
  }                                                                                                                      \
  extern "C" __global__ void softmax_forward_##SUFFIX(const T *scores, T *out, size_t time, size_t keys, float scale) {  \
    softmax_forward<T>(scores, out, time, keys, scale);                                                                  \
  }                                                                                                                      \
  extern "C" __global__ void softmax_backward_##SUFFIX(const T *p, const T *dp, T *ds, size_t time, size_t keys,         \
                                                       float scale) {                                                    \
    softmax_backward<T>(p, dp, ds, time, keys, scale);                                                                   \
  }                                                                                                                      \
  extern "C" __global__ void cross_entropy_##SUFFIX(T *logits, const unsigned *targets, const float *weights,            \
                                                    float *losses, size_t vocab) {                                       \
    cross_entropy<T>(logits, targets, weights, losses, vocab);                                                           \
  }                                                                                                                      \
  extern "C" __global__ void embedding_backward_##SUFFIX(const unsigned *ids, const T *grad, T *d_table, size_t tokens,  \
                                                         size_t width) {                                                 \
    embedding_backward<T>(ids, grad, d_table, tokens, width);                                                            \
  }

FOR_TYPE(float, f32)
FOR_TYPE(half16, bf16)

// AdamW as torch.optim.AdamW: `keep` is 1 - lr * decay, `root` is 1 / sqrt(1 - beta2^t), `rate` is lr / (1 - beta1^t).
extern "C" __global__ void adamw_f32(float *p, const float *grad, float *first, float *second, size_t count, float scale,
                                     float keep, float b1, float c1, float b2, float c2, float root, float rate, float eps) {
  size_t i = place();
  if (i >= count) return;
  float g = grad[i] * scale;
  float m = b1 * first[i] + c1 * g, v = b2 * second[i] + c2 * g * g;
  first[i] = m;
  second[i] = v;
  p[i] = p[i] * keep - rate * m / (sqrtf(v) * root + eps);
}
