/* A dense layer and argmax over buffers of native 32-bit floats. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* Return the floats in a buffer and their number, or NULL with ValueError set. */
static const float *
floats_of(const Py_buffer *buffer, const char *name, Py_ssize_t *count)
{
    if (buffer->len % sizeof(float) != 0 || (uintptr_t)buffer->buf % _Alignof(float) != 0) {
        PyErr_Format(PyExc_ValueError, "%s: %zd bytes are no aligned 32-bit floats", name, buffer->len);
        return NULL;
    }
    *count = buffer->len / (Py_ssize_t)sizeof(float);
    return buffer->buf;
}

static float
dot(const float *a, const float *b, Py_ssize_t count)
{
    float sum = 0;
    for (Py_ssize_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static PyObject *
dense_of(const Py_buffer *values, const Py_buffer *weight, const Py_buffer *bias, int relu)
{
    Py_ssize_t inputs, outputs, weights;
    const float *x = floats_of(values, "values", &inputs);
    const float *w = x ? floats_of(weight, "weight", &weights) : NULL;
    const float *b = w ? floats_of(bias, "bias", &outputs) : NULL;
    if (!b)
        return NULL;
    if (inputs == 0 || weights % inputs != 0 || weights / inputs != outputs) {
        PyErr_Format(PyExc_ValueError, "%zd weights do not take %zd values to %zd", weights, inputs, outputs);
        return NULL;
    }
    PyObject *result = PyBytes_FromStringAndSize(NULL, bias->len);
    if (!result)
        return NULL;
    float *y = (float *)PyBytes_AS_STRING(result);
    for (Py_ssize_t i = 0; i < outputs; i++) {
        float sum = dot(x, w + i * inputs, inputs) + b[i];
        y[i] = relu && sum < 0 ? 0 : sum;
    }
    return result;
}

PyDoc_STRVAR(dense_doc, "dense(values, weight, bias, /, *, relu)\n--\n\n"
    "Return `weight @ values + bias`, negative results replaced by 0 if `relu`.\n\n"
    "All are 32-bit floats; `weight` has one row for each result.");

static PyObject *
dense(PyObject *module, PyObject *args, PyObject *options)
{
    static char *names[] = {"", "", "", "relu", NULL};
    Py_buffer values, weight, bias;
    int relu;
    if (!PyArg_ParseTupleAndKeywords(args, options, "y*y*y*$p:dense", names, &values, &weight, &bias, &relu))
        return NULL;
    PyObject *result = dense_of(&values, &weight, &bias, relu);
    PyBuffer_Release(&values);
    PyBuffer_Release(&weight);
    PyBuffer_Release(&bias);
    return result;
}

PyDoc_STRVAR(argmax_doc, "argmax(values, /)\n--\n\nReturn the position of the first of the largest 32-bit floats.");

static PyObject *
argmax(PyObject *module, PyObject *args)
{
    Py_buffer values;
    if (!PyArg_ParseTuple(args, "y*:argmax", &values))
        return NULL;
    Py_ssize_t count, best = 0;
    const float *x = floats_of(&values, "values", &count);
    if (x && count == 0) {
        PyErr_SetString(PyExc_ValueError, "values: there are none");
        x = NULL;
    }
    for (Py_ssize_t i = 1; x && i < count; i++)
        if (x[i] > x[best])
            best = i;
    PyBuffer_Release(&values);
    return x ? PyLong_FromSsize_t(best) : NULL;
}

static PyMethodDef methods[] = {
    {"dense", (PyCFunction)(void (*)(void))dense, METH_VARARGS | METH_KEYWORDS, dense_doc},
    {"argmax", argmax, METH_VARARGS, argmax_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "digit_reader._layers",
    .m_doc = "Layers of a neural network over buffers of 32-bit floats.",
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit__layers(void)
{
    return PyModuleDef_Init(&definition);
}
