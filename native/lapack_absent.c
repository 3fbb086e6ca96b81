/* lapack_absent: the LAPACK and BLAS routines that faiss names and dcpipe never reaches.
 *
 * dcpipe uses faiss for the exhaustive nearest-centroid search alone. That needs sgemm_, which libtorch_cpu (MKL)
 * provides and which is therefore not defined here. Linking a second BLAS would decide, by link order, which of the
 * two serves libtorch as well. A routine of this file that is called all the same stops the process and says so. */
#include <stdio.h>
#include <stdlib.h>

#define ABSENT(name)                                                                              \
    void name(void) {                                                                             \
        fputs("dcpipe: BUG: faiss called " #name ", which this build leaves out\n", stderr);      \
        abort();                                                                                  \
    }

ABSENT(ssyrk_)
ABSENT(dsyrk_)
ABSENT(ssyev_)
ABSENT(dsyev_)
ABSENT(sgesvd_)
ABSENT(dgesvd_)
ABSENT(sgetri_)
ABSENT(dgetri_)
